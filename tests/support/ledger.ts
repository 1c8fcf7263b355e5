/** Types many commands while bot, worker and Redis are killed, and counts what was posted of each that was acknowledged. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { postKey } from '../../bot/delivery.ts';
import type { MessageRef } from '../../bot/platform.ts';
import type { Invocation } from '../../commands/command.ts';
import { placeEmptyDatabase } from './empty-database.ts';
import type { FromLedgerBot, ToLedgerBot } from './ledger-messages.ts';
import { type RedisServer, startRedisServer } from './redis-server.ts';
import { saveTinyPipeline } from './tiny-folder.ts';

export interface LedgerOptions {
  readonly queue: 'pglite' | 'redis';
  readonly jobs: number;
  readonly users: number;
  readonly kills: number;
  /** Of the random moments. */
  readonly seed: number;
  readonly onNote?: (note: string) => void;
}

export interface Ledger {
  readonly acknowledged: number;
  /** Deliveries that were sent twice on purpose. */
  readonly sentTwice: number;
  readonly results: number;
  readonly errors: number;
  /** Acknowledged jobs of which nothing was posted: must be 0. */
  readonly lost: number;
  /** Posts beyond the first of a job: must be 0. */
  readonly doubled: number;
  /** Posts of jobs that nobody was told of: their acknowledgement died with the bot, before anybody saw it. */
  readonly unseen: number;
  readonly kills: Readonly<Record<string, number>>;
  readonly seconds: number;
}

interface Post {
  count: number;
  readonly isError: boolean;
  readonly message: MessageRef;
}

const IDLE_LIMIT_MS = 240_000;
/** How long jobs may get nowhere before the next kill. */
const PATIENCE_MS = 15_000;

export async function runLedger(options: LedgerOptions): Promise<Ledger> {
  const started = performance.now();
  const run = new LedgerRun(options);
  await run.open();
  try {
    await Promise.all([run.typeAll(), run.killAll()]);
    await run.untilSettled();
    return run.ledger((performance.now() - started) / 1000);
  } finally {
    await run.close();
  }
}

type Role = 'all' | 'bot' | 'worker';

class LedgerRun {
  readonly #options: LedgerOptions;
  readonly #random: () => number;
  readonly #processes = new Map<string, ChildProcess>();
  readonly #posts = new Map<string, Post>();
  readonly #jobs = new Map<string, string>();
  readonly #kills: Record<string, number> = {};
  readonly #twice = new Set<string>();
  #dataDir = '';
  #redis: RedisServer | undefined;
  /** Kills the bot while it waits for the answer to its next post. */
  #isPostDeadly = false;
  #isClosing = false;
  #changedAt = Date.now();

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#random = randomNumbers(options.seed);
  }

  async open(): Promise<void> {
    this.#dataDir = await mkdtemp(join(tmpdir(), 'sketchbooth-ledger-'));
    await placeEmptyDatabase(this.#dataDir);
    await saveTinyPipeline(join(this.#dataDir, 'models', 'tiny'));
    if (this.#options.queue === 'redis') this.#redis = await startRedisServer();
    await Promise.all(this.#roles().map(([name, role]) => this.#start(name, role)));
  }

  /** Types every command until it is acknowledged, as people and platforms do; some are delivered twice. */
  async typeAll(): Promise<void> {
    const { jobs, users } = this.#options;
    const untyped = Array.from({ length: jobs }, (_, i) => invocationOf(i, i % users));
    while (untyped.some(({ id }) => !this.#jobs.has(id))) {
      for (const invocation of untyped.filter(({ id }) => !this.#jobs.has(id)).slice(0, 20)) {
        this.#tell({ kind: 'invoke', invocation });
        if (this.#random() < 0.1) {
          this.#twice.add(invocation.id);
          this.#tell({ kind: 'invoke', invocation });
        }
        await setTimeout(20);
      }
      await setTimeout(500);
    }
  }

  async killAll(): Promise<void> {
    const ways = this.#ways();
    const { jobs, kills } = this.#options;
    for (let i = 0; i < kills; i++) {
      await setTimeout(500 + 2500 * this.#random());
      await this.#allUp();
      await this.#untilPosted((jobs * i) / kills);
      const [name, kill] = ways[i % ways.length]!;
      this.#kills[name] = (this.#kills[name] ?? 0) + 1;
      this.#options.onNote?.(`Killing: ${name}`);
      await kill();
    }
    await this.#allUp();
  }

  /** Spreads the kills over the whole run; where jobs get nowhere, that is no reason to kill less. */
  async #untilPosted(count: number): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    while (this.#posts.size < count && Date.now() < deadline) await setTimeout(50);
  }

  async untilSettled(): Promise<void> {
    const isSettled = () => [...this.#jobs.values()].every((jobId) => this.#posts.has(postKey(jobId)));
    while (!isSettled() && Date.now() - this.#changedAt < IDLE_LIMIT_MS) await setTimeout(200);
    // A second post of something would come by now.
    await setTimeout(3000);
  }

  ledger(seconds: number): Ledger {
    const keys = new Set([...this.#jobs.values()].map(postKey));
    const own = [...this.#posts].filter(([key]) => keys.has(key)).map(([, post]) => post);
    return {
      acknowledged: keys.size,
      sentTwice: this.#twice.size,
      results: own.filter(({ isError }) => !isError).length,
      errors: own.filter(({ isError }) => isError).length,
      lost: keys.size - own.length,
      doubled: [...this.#posts.values()].reduce((sum, { count }) => sum + count - 1, 0),
      unseen: this.#posts.size - own.length,
      kills: this.#kills,
      seconds,
    };
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all([...this.#processes.values()].map(killProcess));
    await this.#redis?.stop();
    await rm(this.#dataDir, { recursive: true, force: true });
  }

  #roles(): (readonly [name: string, role: Role])[] {
    if (this.#options.queue === 'pglite') return [['bot', 'all']];
    return [
      ['bot', 'bot'],
      ['worker 1', 'worker'],
      ['worker 2', 'worker'],
    ];
  }

  #ways(): (readonly [name: string, kill: () => Promise<void>])[] {
    const bot = () => killProcess(this.#processes.get('bot')!);
    const statement = (when: 'before' | 'after') => async () =>
      this.#tell({ kind: 'die', statement: Math.ceil(this.#random() * 60), when });
    const both: (readonly [string, () => Promise<void>])[] = [
      ['bot before a statement', statement('before')],
      ['bot while posting', async () => this.#makePostDeadly()],
      ['bot after a statement', statement('after')],
      ['bot at a random moment', bot],
      ['computing child', () => this.#killChild()],
    ];
    const redis = this.#redis;
    if (!redis) return both;
    const worker = () => killProcess(this.#processes.get(this.#random() < 0.5 ? 'worker 1' : 'worker 2')!);
    return [['worker', worker], ['Redis', () => redis.killAndRestart(1000 * this.#random())], ...both];
  }

  #makePostDeadly(): void {
    this.#isPostDeadly = true;
  }

  async #killChild(): Promise<void> {
    const name = this.#redis ? 'worker 1' : 'bot';
    const pid = this.#processes.get(name)?.pid;
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
    for (const child of children.trim().split(' ')) {
      const command = await readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '');
      if (command.includes('device-child')) process.kill(Number(child), 'SIGKILL');
    }
  }

  /** A supervisor: whatever dies is started again. */
  async #start(name: string, role: Role): Promise<void> {
    const child = fork(join(import.meta.dirname, 'ledger-process.ts'), [role], {
      execArgv: ['--import', 'tsx'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#processes.set(name, child);
    child.send({ kind: 'start', variables: this.#variables() } satisfies ToLedgerBot);
    child.on('message', (message: FromLedgerBot) => this.#hear(child, message));
    child.once('exit', () => {
      if (!this.#isClosing) void this.#start(name, role).catch(() => undefined);
    });
    await readiness(child);
    this.#options.onNote?.(`${name} is up; ${this.#jobs.size} acknowledged, ${this.#posts.size} posted`);
  }

  #variables(): Record<string, string> {
    const { url } = this.#redis ?? {};
    const common = { DATA_DIR: this.#dataDir, DEFAULT_MODEL: 'tiny', DEVICE: 'cpu', THREADS: '1', LOG_LEVEL: 'silent' };
    return { ...common, ...(url !== undefined && { REDIS_URL: url }) };
  }

  /** Waits until every process runs and has said so. */
  async #allUp(): Promise<void> {
    const isUp = (child: ChildProcess) => child.exitCode === null && child.signalCode === null && ready.has(child);
    while (![...this.#processes.values()].every(isUp)) await setTimeout(50);
  }

  #tell(message: ToLedgerBot): void {
    const bot = this.#processes.get('bot');
    if (bot?.connected && ready.has(bot)) bot.send(message, () => undefined);
  }

  #hear(child: ChildProcess, message: FromLedgerBot): void {
    this.#changedAt = Date.now();
    if (message.kind === 'acknowledged') {
      const { answer, invocationId } = message;
      if (answer.kind !== 'message' || answer.jobId === undefined) {
        this.#options.onNote?.(`Not queued: ${JSON.stringify(answer)}`);
        return;
      }
      const known = this.#jobs.get(invocationId);
      if (known !== undefined && known !== answer.jobId) throw new Error(`Delivery ${invocationId} made two jobs`);
      this.#jobs.set(invocationId, answer.jobId);
    }
    if (message.kind === 'find') this.#answer(child, message.call, this.#posts.get(message.key)?.message);
    if (message.kind === 'post') this.#takePost(child, message);
  }

  #takePost(
    child: ChildProcess,
    { key, call, isError, text }: Extract<FromLedgerBot, { kind: 'post' | 'find' }>,
  ): void {
    const known = this.#posts.get(key);
    if (known) known.count++;
    const message: MessageRef = { platform: 'web', channelId: 'studio', messageId: key };
    // Half of the time the message is there and nobody told the bot, half of the time it never arrived.
    const hasArrived = !this.#isPostDeadly || this.#random() < 0.5;
    if (isError) this.#options.onNote?.(`Error posted: ${key} ${text}`);
    if (!known && hasArrived) this.#posts.set(key, { count: 1, isError, message });
    if (this.#isPostDeadly) {
      this.#isPostDeadly = false;
      child.kill('SIGKILL');
      return;
    }
    this.#answer(child, call, message);
  }

  #answer(child: ChildProcess, call: number, message: MessageRef | undefined): void {
    if (child.connected) child.send({ kind: 'posted', call, message } satisfies ToLedgerBot, () => undefined);
  }
}

const ready = new WeakSet<ChildProcess>();

async function readiness(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.on('message', (message: FromLedgerBot) => {
      if (message.kind !== 'ready') return;
      ready.add(child);
      resolve();
    });
    child.once('exit', () => reject(new Error('The process died before it was ready')));
  });
}

async function killProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

function invocationOf(number: number, user: number): Invocation {
  return {
    id: `delivery-${number}`,
    command: 'imagine',
    options: { prompt: `picture ${number}`, size: '64x64', steps: 1, seed: number },
    images: {},
    actor: { platform: 'web', userId: `user-${user}`, displayName: `User ${user}` },
    isAdministrator: false,
    place: { platform: 'web', serverId: 'server', channelId: 'studio' },
    uploadLimitBytes: 10 * 2 ** 20,
  };
}

/** xorshift32: the same moments for the same seed. */
function randomNumbers(seed: number): () => number {
  let state = (seed + 1) * 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
