/** The whole program in the test's process, with a chat in memory and a tiny model in a real worker. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bot, startBot } from '../../bot/main.ts';
import { createPlatforms } from '../../bot/platforms.ts';
import { COMMANDS } from '../../commands/index.ts';
import { type Config, loadConfig } from '../../shared/config.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import { type BotServices, openServices } from '../../shared/services.ts';
import { type RunningWorker, startWorker } from '../../worker/main.ts';
import { ChatPlatform } from './chat-platform.ts';
import { placeEmptyDatabase } from './empty-database.ts';
import { saveTinyNetwork, saveTinyPipeline } from './tiny-folder.ts';
import { saveTinyStudent } from './tiny-lesson.ts';
import { tinyConfigs } from './tiny-models.ts';

export interface RunningBot {
  readonly chat: ChatPlatform;
  readonly config: Config;
  readonly services: BotServices;
  /** Stops everything and starts it again on the same folder; the chat stays. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface BotOptions {
  readonly withWorker?: boolean;
  /** Whether there is also the model `student`, which a lesson of seconds can teach. */
  readonly withStudent?: boolean;
  readonly environment?: NodeJS.ProcessEnv;
  /** Platforms that the configuration names, beside the chat in memory. */
  readonly withPlatforms?: boolean;
}

/** @property environment  beside a data folder of its own, where the model `tiny` lies */
export async function startTinyBot({
  withWorker = true,
  withStudent = false,
  withPlatforms = false,
  environment = {},
}: BotOptions = {}): Promise<RunningBot> {
  const dataDir = await mkdtemp(join(tmpdir(), 'sketchbooth-bot-'));
  const models = join(dataDir, 'models');
  await placeEmptyDatabase(dataDir);
  await saveTinyPipeline(join(models, 'tiny'));
  if (withStudent) await saveTinyStudent(join(models, 'student'));
  await saveTinyNetwork(join(models, 'tiny-scribble'), 'ControlNetModel', tinyConfigs['controlnet-sd1']);
  await saveTinyNetwork(join(models, 'tiny-t2i-depth'), 'T2IAdapter', tinyConfigs['t2i-full']);
  const config = loadConfig({
    DATA_DIR: dataDir,
    DEFAULT_MODEL: 'tiny',
    DEVICE: 'cpu',
    THREADS: '1',
    LOG_LEVEL: 'warn',
    ...environment,
  });
  const metrics = createMetrics();
  const log = createLog(config, 'test');
  const chat = new ChatPlatform();
  let services: BotServices;
  let bot: Bot;
  let worker: RunningWorker | undefined;
  const start = async () => {
    services = await openServices(config);
    const configured = withPlatforms ? await createPlatforms({ config, database: services.database, log }) : [];
    bot = await startBot({ ...services, config, log, metrics, platforms: [chat, ...configured], commands: COMMANDS });
    worker = withWorker ? await startWorker({ ...services, config, log, metrics }) : undefined;
  };
  const stop = async () => {
    await worker?.stop();
    await bot.stop();
    await services.close();
  };
  await start();
  return {
    chat,
    config,
    get services() {
      return services;
    },
    restart: async () => {
      await stop();
      await start();
    },
    stop: async () => {
      await stop();
      await rm(dataDir, { recursive: true });
    },
  };
}
