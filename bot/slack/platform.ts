import { App, LogLevel } from '@slack/bolt';
import type { Logger } from 'pino';
import type { Command } from '../../commands/command.ts';
import type { SlackConfig } from '../../shared/config.ts';
import { createPendingWork } from '../pending-work.ts';
import type { BotInbox, Platform } from '../platform.ts';
import type { Bridge } from './bridge.ts';
import { listen } from './listeners.ts';
import { patientFetch } from './patient-fetch.ts';
import { edit, findPosted, post, remove, sendDirect } from './posts.ts';

export interface SlackOptions {
  readonly config: SlackConfig;
  readonly commands: readonly Command[];
  readonly maxUploadBytes: number;
  readonly log: Logger;
}

const REQUEST_TIMEOUT_MS = 30_000;

/** Slack as a chat platform: Socket Mode where there is an app token, else HTTP with the signing secret. */
export function createSlackPlatform(options: SlackOptions): Platform {
  const { config, log } = options;
  const app = createApp(options);
  const pending = createPendingWork(log);
  let bridge: Bridge | undefined;
  const connected = (): Bridge => {
    if (bridge === undefined) throw new Error('Cannot use Slack: the platform must be started first');
    return bridge;
  };

  async function start(inbox: BotInbox): Promise<void> {
    await app.init();
    const { user_id } = await app.client.auth.test();
    const testOrigin = config.api === undefined ? undefined : new URL(config.api).origin;
    bridge = {
      client: app.client,
      inbox,
      commands: options.commands,
      log,
      botToken: config.botToken,
      botUserId: user_id!,
      maxUploadBytes: options.maxUploadBytes,
      testOrigin,
      unfinished: new Map(),
      shownSamples: new Set(),
    };
    listen(app, bridge, pending.track);
    app.error(async (error) => log.error({ err: error }, 'Cannot take a delivery of Slack'));
    await app.start(config.port);
    log.info({ mode: config.appToken === undefined ? 'HTTP' : 'Socket Mode' }, 'Connected to Slack');
  }

  return {
    name: 'slack',
    start,
    post: (to, reply, key) => post(connected(), to, { reply, key }),
    findPosted: (to, key) => findPosted(connected(), to, key),
    edit: (message, reply) => edit(connected(), message, reply),
    remove: (message) => remove(connected(), message),
    sendDirect: (to, reply) => sendDirect(connected(), to.userId, reply),
    isReady: () => bridge !== undefined,
    stop: async () => {
      await pending.settle();
      await app.stop();
      bridge = undefined;
    },
  };
}

function createApp({ config, log }: SlackOptions): App {
  const { appToken, signingSecret } = config;
  const logger = boltLogger(log);
  return new App({
    token: config.botToken,
    ...(appToken !== undefined ? { socketMode: true, appToken } : { signingSecret: signingSecret! }),
    deferInitialization: true,
    logger,
    clientOptions: {
      logger,
      timeout: REQUEST_TIMEOUT_MS,
      // A post whose answer was lost may be there: delivery looks before it tries again.
      retryConfig: { retries: 0 },
      rejectRateLimitedCalls: true,
      fetch: patientFetch,
      ...(config.api !== undefined && { slackApiUrl: config.api }),
    },
  });
}

/** Bolt's own words go to our log, without what it says of each delivery. */
function boltLogger(log: Logger) {
  const words = (parts: unknown[]) => parts.map(String).join(' ');
  return {
    debug: () => undefined,
    info: (...parts: unknown[]) => log.debug(words(parts)),
    warn: (...parts: unknown[]) => log.warn(words(parts)),
    error: (...parts: unknown[]) => log.error(words(parts)),
    setLevel: () => undefined,
    getLevel: () => LogLevel.INFO,
    setName: () => undefined,
  };
}
