/** One program, three roles: `all` (bot and worker together), `bot`, `worker`. */
import { startBot } from '../bot/main.ts';
import { createPlatforms } from '../bot/platforms.ts';
import { COMMANDS } from '../commands/index.ts';
import { type Config, loadConfig } from '../shared/config.ts';
import { UserError } from '../shared/errors.ts';
import { createLog, type Log } from '../shared/log.ts';
import { openServices, openWorkerServices } from '../shared/services.ts';
import { startWorker } from '../worker/main.ts';

type Stop = () => Promise<void>;

const roles: Readonly<Record<string, (config: Config, log: Log) => Promise<Stop>>> = {
  all: async (config, log) => {
    const services = await openServices(config);
    const platforms = await createPlatforms({ config, database: services.database, log });
    const bot = await startBot({ ...services, config, log, platforms, commands: COMMANDS });
    const worker = await startWorker({ ...services, config, log });
    return async () => {
      await worker.stop();
      await bot.stop();
      await services.close();
    };
  },
  bot: async (config, log) => {
    const services = await openServices(config);
    const platforms = await createPlatforms({ config, database: services.database, log });
    const bot = await startBot({ ...services, config, log, platforms, commands: COMMANDS });
    return async () => {
      await bot.stop();
      await services.close();
    };
  },
  worker: async (config, log) => {
    const services = await openWorkerServices(config);
    const worker = await startWorker({ ...services, config, log });
    return async () => {
      await worker.stop();
      await services.close();
    };
  },
};

/** A second signal, or a stop that takes longer than this, ends the process at once. */
const STOP_MS = 20_000;

async function main(role: string): Promise<void> {
  const start = roles[role];
  if (!start) throw new UserError(`Cannot start: the role must be all, bot or worker, got ${role}`);
  const config = loadConfig();
  const log = createLog(config, role);
  const stop = await start(config, log);
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
