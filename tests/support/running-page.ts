/** The whole program in the test's process, with the local page on a port of its own and a real worker. */

import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bot, startBot } from '../../bot/main.ts';
import { createPlatforms } from '../../bot/platforms.ts';
import { COMMANDS } from '../../commands/index.ts';
import { loadConfig } from '../../shared/config.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import { type BotServices, openServices } from '../../shared/services.ts';
import { type RunningWorker, startWorker } from '../../worker/main.ts';
import { POCKET_FOLDER } from '../../worker/pocket/folder.ts';
import { freePort } from './free-port.ts';
import { saveTinyNetwork, saveTinyPipeline } from './tiny-folder.ts';
import { tinyConfigs } from './tiny-models.ts';

export interface RunningPage {
  readonly address: string;
  readonly dataDir: string;
  /** The pocket model where it is whole, else a random tiny one of the same layout. */
  readonly model: 'pocket' | 'tiny';
  readonly services: BotServices;
  /** Stops everything and starts it again on the same folder and port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface PageOptions {
  readonly model?: RunningPage['model'];
  readonly environment?: NodeJS.ProcessEnv;
}

export async function startPage({ model = wholeModel(), environment = {} }: PageOptions = {}): Promise<RunningPage> {
  const dataDir = await mkdtemp(join(tmpdir(), 'sketchbooth-page-'));
  if (model === 'tiny') await saveTinyFamily(join(dataDir, 'models'));
  const port = await freePort();
  const config = loadConfig({
    DATA_DIR: dataDir,
    DEFAULT_MODEL: model,
    DEVICE: 'cpu',
    LOG_LEVEL: 'warn',
    WEB_PORT: String(port),
    ...environment,
  });
  const surroundings = { config, log: createLog(config, 'test'), metrics: createMetrics() };
  let running: { services: BotServices; bot: Bot; worker: RunningWorker } | undefined;
  const start = async () => {
    const services = await openServices(config);
    const platforms = await createPlatforms({ ...surroundings, database: services.database });
    const bot = await startBot({ ...services, ...surroundings, platforms, commands: COMMANDS });
    running = { services, bot, worker: await startWorker({ ...services, ...surroundings }) };
  };
  const stop = async () => {
    await running?.worker.stop();
    await running?.bot.stop();
    await running?.services.close();
    running = undefined;
  };
  await start();
  return {
    address: `http://127.0.0.1:${port}`,
    dataDir,
    model,
    get services() {
      if (!running) throw new Error('The program is not running');
      return running.services;
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

/** The pocket model if its control networks are there too. */
function wholeModel(): RunningPage['model'] {
  const parts = ['model', 'controlnet-sketch', 'controlnet-depth'];
  return parts.every((part) => existsSync(join(POCKET_FOLDER, part))) ? 'pocket' : 'tiny';
}

async function saveTinyFamily(models: string): Promise<void> {
  await saveTinyPipeline(join(models, 'tiny'));
  for (const kind of ['sketch', 'depth']) {
    await saveTinyNetwork(join(models, `tiny-${kind}`), 'ControlNetModel', tinyConfigs['controlnet-sd1']);
  }
}
