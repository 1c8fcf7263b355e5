/** The ledger in full: `npm run bench:ledger`, or with --jobs, --users, --kills, --queue, --seed. */
import { parseArgs } from 'node:util';
import { runLedger } from '../support/ledger.ts';

const text = { type: 'string' } as const;
const { values } = parseArgs({ options: { jobs: text, users: text, kills: text, queue: text, seed: text } });
const queues = (['pglite', 'redis'] as const).filter((queue) => values.queue === undefined || values.queue === queue);
const started = performance.now();
for (const queue of queues) {
  const ledger = await runLedger({
    queue,
    jobs: Number(values.jobs ?? 500),
    users: Number(values.users ?? 20),
    kills: Number(values.kills ?? 50),
    seed: Number(values.seed ?? 1),
    onNote: (note) => console.error(`${((performance.now() - started) / 1000).toFixed(1)} s  ${note}`),
  });
  console.log(JSON.stringify({ queue, ...ledger }, undefined, 2));
  if (ledger.lost > 0 || ledger.doubled > 0) process.exitCode = 1;
}
