import { expect, test } from 'vitest';
import { runLedger } from '../support/ledger.ts';

const SMALL = { jobs: 24, users: 4, seed: 1 } as const;

for (const [queue, kills] of [
  ['pglite', 5],
  ['redis', 7],
] as const) {
  test(`every acknowledged job is posted once while processes are killed, queue on ${queue}`, {
    timeout: 600_000,
  }, async () => {
    const ledger = await runLedger({ ...SMALL, queue, kills });
    console.log(JSON.stringify({ queue, ...ledger }));
    expect(ledger).toMatchObject({ acknowledged: SMALL.jobs, lost: 0, doubled: 0 });
    expect(ledger.results + ledger.errors).toBe(SMALL.jobs);
    expect(Object.values(ledger.kills).reduce((sum, count) => sum + count, 0)).toBe(kills);
  });
}
