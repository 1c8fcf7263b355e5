/** One program, three roles: `all` (bot and worker together), `bot`, `worker`. */
import { existsSync } from 'node:fs';
import { type Bot, startBot } from '../bot/main.ts';
import type { Platform } from '../bot/platform.ts';
import { createPlatforms } from '../bot/platforms.ts';
import { COMMANDS } from '../commands/index.ts';
import { type Config, loadConfig } from '../shared/config.ts';
import { UserError } from '../shared/errors.ts';
import { startHealthServer } from '../shared/health.ts';
import { createLog, type Log } from '../shared/log.ts';
import { createMetrics, type Metrics } from '../shared/metrics.ts';
import { type BotServices, openServices, openWorkerServices } from '../shared/services.ts';
import { startWorker } from '../worker/main.ts';

interface Running {
  readonly checks: Readonly<Record<string, () => Promise<unknown>>>;
  stop(): Promise<void>;
}

interface Surroundings {
  readonly config: Config;
  readonly log: Log;
  readonly metrics: Metrics;
}

const roles: Readonly<Record<string, (surroundings: Surroundings) => Promise<Running>>> = {
  all: async (surroundings) => {
    const services = await openServices(surroundings.config);
    const { bot, checks } = await runBot(services, surroundings);
    const worker = await startWorker({ ...services, ...surroundings });
    return {
      checks,
      stop: async () => {
        await worker.stop();
        await bot.stop();
        await services.close();
      },
    };
  },
  bot: async (surroundings) => {
    const services = await openServices(surroundings.config);
    const { bot, checks } = await runBot(services, surroundings);
    return {
      checks,
      stop: async () => {
        await bot.stop();
        await services.close();
      },
    };
  },
  worker: async (surroundings) => {
    const services = await openWorkerServices(surroundings.config);
    const worker = await startWorker({ ...services, ...surroundings });
    return {
      checks: { queue: services.queues.check, store: services.store.check },
      stop: async () => {
        await worker.stop();
        await services.close();
      },
    };
  },
};

async function runBot(
  services: BotServices,
  surroundings: Surroundings,
): Promise<{ bot: Bot } & Pick<Running, 'checks'>> {
  const { database, queues, store } = services;
  const platforms = await createPlatforms({ ...surroundings, database });
  const bot = await startBot({ ...services, ...surroundings, platforms, commands: COMMANDS });
  const checks = {
    queue: queues.check,
    store: store.check,
    database: () => database.selectFrom('workers').select('name').limit(1).execute(),
    ...Object.fromEntries(platforms.map((platform) => [platform.name, () => requireReady(platform)])),
  };
  return { bot, checks };
}

async function requireReady(platform: Platform): Promise<void> {
  if (!platform.isReady()) throw new Error(`${platform.name} is not connected`);
}

const ENV_FILE = '.env';
/** A second signal, or a stop that takes longer than this, ends the process at once. */
const STOP_MS = 20_000;

async function main(role: string): Promise<void> {
  const start = roles[role];
  if (!start) throw new UserError(`Cannot start: the role must be all, bot or worker, got ${role}`);
  if (existsSync(ENV_FILE)) process.loadEnvFile(ENV_FILE);
  const config = loadConfig();
  const log = createLog(config, role);
  const metrics = createMetrics();
  const { checks, stop } = await start({ config, log, metrics });
  if (config.health) await startHealthServer({ ...config.health, checks, registry: metrics.registry });
  let isStopping = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (isStopping) process.exit(1);
      isStopping = true;
      log.info(`Stopping after ${signal}`);
      setTimeout(() => process.exit(1), STOP_MS).unref();
      stop().then(
        () => process.exit(0),
        (error: unknown) => {
          log.error({ err: error }, 'Cannot stop cleanly');
          process.exit(1);
        },
      );
    });
  }
}

main(process.argv[2] ?? 'all').catch((error: unknown) => {
  console.error(error instanceof UserError ? error.message : error);
  process.exit(1);
});
