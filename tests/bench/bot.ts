/** How fast the bot answers and how fairly it serves: `npm run bench:bot`, with --queue redis, --only, --rate, --seconds. */
import { parseArgs } from 'node:util';
import type { Invocation } from '../../commands/command.ts';
import type { Actor } from '../../shared/jobs.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { type RunningBot, startTinyBot } from '../support/running-bot.ts';

const text = { type: 'string' } as const;
const { values } = parseArgs({ options: { queue: text, only: text, rate: text, seconds: text, heavy: text } });
const RATE = Number(values.rate ?? 200);
const SECONDS = Number(values.seconds ?? 60);
const HEAVY = Number(values.heavy ?? 200);

const redis = values.queue === 'redis' ? await startRedisServer() : undefined;
const environment = redis ? { REDIS_URL: redis.url } : {};

console.log(`Queue on ${redis ? 'Redis' : 'PGlite'}`);
const measures = { starts: measureStarts, fairness: measureFairness, acknowledgements: measureAcknowledgements };
for (const [name, measure] of Object.entries(measures)) {
  if (values.only === undefined || values.only === name) await withBot(measure);
}
await redis?.stop();

async function withBot(measure: (bot: RunningBot) => Promise<void>): Promise<void> {
  const bot = await startTinyBot({ environment: { ...environment, QUEUE_PREFIX: `bench-${Date.now()}` } });
  try {
    await measure(bot);
  } finally {
    await bot.stop();
  }
}

function invocation(id: string, userId: string, options: Partial<Invocation> = {}): Invocation {
  const actor: Actor = { platform: 'web', userId, displayName: userId };
  return {
    id,
    command: 'imagine',
    options: { prompt: 'a red car', size: '64x64', steps: 1, seed: 1 },
    images: {},
    actor,
    isAdministrator: true,
    place: { platform: 'web', channelId: 'studio' },
    uploadLimitBytes: 2 ** 23,
    ...options,
  };
}

/** From the command's acknowledgement to the news that a worker has begun, with nothing else in the queue. */
async function measureStarts({ chat, services }: RunningBot): Promise<void> {
  const events = services.queues.events('picture');
  await events.waitUntilReady();
  let started = (_jobId: string) => {};
  events.on('active', ({ jobId }) => started(jobId));
  const times: number[] = [];
  for (let i = 0; i < 60; i++) {
    const from = performance.now();
    const start = new Promise<number>((resolve) => {
      started = () => resolve(performance.now() - from);
    });
    await chat.inbox.invoke(invocation(`start-${i}`, `user-${i}`));
    times.push(await start);
    while (chat.ends().length <= i) await pause(20);
  }
  await events.close();
  console.log(`command to start of work: ${describe(times)}`);
}

/** One user asks for many pictures, then ten users for two each. */
async function measureFairness({ chat, services }: RunningBot): Promise<void> {
  const events = services.queues.events('picture');
  await events.waitUntilReady();
  const owners = new Map<string, string>();
  let heavyStarts = 0;
  const startsBefore = new Map<string, number>();
  events.on('active', ({ jobId }) => {
    if (owners.get(jobId) === 'heavy') heavyStarts++;
    else startsBefore.set(jobId, heavyStarts);
  });
  const ask = async (id: string, userId: string) => {
    const startsNow = heavyStarts;
    const answer = await chat.inbox.invoke(invocation(id, userId));
    const jobId = answer.kind === 'message' ? answer.jobId : undefined;
    if (jobId !== undefined) owners.set(jobId, userId);
    return { jobId, startsNow };
  };
  await chat.inbox.invoke(invocation('limit', 'admin', { command: 'settings', options: { max_jobs: 100 } }));
  // The limit of one person is 100 at most, so the heavy user asks again as pictures are done.
  let asked = 0;
  const heavy = (async () => {
    while (asked < HEAVY) {
      if ((await ask(`heavy-${asked}`, 'heavy')).jobId !== undefined) asked++;
      else await pause(100);
    }
  })();
  while (heavyStarts < 10) await pause(20);
  const light: { jobId: string | undefined; startsNow: number }[] = [];
  for (let n = 0; n < 2; n++) {
    for (let i = 0; i < 10; i++) light.push(await ask(`light-${i}-${n}`, `light-${i}`));
  }
  const waited = () =>
    light.flatMap(({ jobId, startsNow }) => {
      const before = jobId === undefined ? undefined : startsBefore.get(jobId);
      return before === undefined ? [] : [before - startsNow];
    });
  while (waited().length < 20) await pause(50);
  console.log(
    `pictures of the heavy user (${HEAVY}) begun between a light user's command and its start: ${waited().join(' ')}`,
  );
  await heavy;
  await events.close();
}

/** Commands at a fixed rate, whether answers come or not, while the worker draws. */
async function measureAcknowledgements({ chat }: RunningBot): Promise<void> {
  const times: number[] = [];
  let unqueued = 0;
  const cpu = process.cpuUsage();
  const started = performance.now();
  const answers: Promise<void>[] = [];
  for (let i = 0; i < RATE * SECONDS; i++) {
    const due = started + (1000 * i) / RATE;
    if (due > performance.now()) await pause(due - performance.now());
    const place = { platform: 'web', channelId: 'studio', serverId: `server-${i % 60}` } as const;
    const answer = chat.inbox.invoke(invocation(`ack-${i}`, `user-${i % 3000}`, { place })).then(async (given) => {
      times.push(performance.now() - due);
      // What a platform does next: it says where the answer was put.
      const message = { platform: 'web', channelId: 'studio', messageId: `message-${i}` } as const;
      if (given.kind === 'message' && given.jobId) await chat.inbox.acknowledged(given.jobId, message);
      else unqueued++;
    });
    answers.push(answer);
  }
  await Promise.all(answers);
  const { length } = chat.ends();
  const { user, system } = process.cpuUsage(cpu);
  const cpuMs = (user + system) / 1000 / times.length;
  console.log(
    `command to acknowledgement at ${RATE}/s for ${SECONDS} s: ${describe(times)}, refused as too many ${unqueued}; ${length} pictures were made meanwhile; ${cpuMs.toFixed(2)} ms of processor per command`,
  );
}

function describe(times: readonly number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!.toFixed(1);
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms of ${times.length}`;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
