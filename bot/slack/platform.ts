import { App, LogLevel, type SocketModeReceiver } from '@slack/bolt';
import type { WebClientOptions } from '@slack/web-api';
import type { Logger } from 'pino';
import type { Command } from '../../commands/command.ts';
import type { SlackConfig } from '../../shared/config.ts';
import { createPendingWork } from '../pending-work.ts';
import type { BotInbox, Platform } from '../platform.ts';
import type { Repeated } from '../repeat.ts';
import { startWith } from './api-errors.ts';
import type { Bridge } from './bridge.ts';
import { listen } from './listeners.ts';
import { patientFetch } from './patient-fetch.ts';
import { edit, findPosted, post, remove, sendDirect } from './posts.ts';
import { createSocket, keepConnected } from './socket.ts';

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
  const pending = createPendingWork(log);
  let bridge: Bridge | undefined;
  let connection: Connection | undefined;
  const connected = (): Bridge => {
    if (bridge === undefined) throw new Error('Cannot use Slack: the platform must be started first');
    return bridge;
  };

  async function start(inbox: BotInbox): Promise<void> {
    // An app listens for good, so that each attempt takes one of its own.
    const { app, socket } = createApp(options);
    await startWith('SLACK_BOT_TOKEN', () => app.init());
    const { user_id } = await startWith('SLACK_BOT_TOKEN', () => app.client.auth.test());
    const testOrigin = config.api === undefined ? undefined : new URL(config.api).origin;
    const opened: Bridge = {
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
    listen(app, opened, pending.track);
    app.error(async (error) => log.error({ err: error }, 'Cannot take a delivery of Slack'));
    await startWith('SLACK_APP_TOKEN', () => app.start(config.port));
    bridge = opened;
    connection = { app, keeping: socket && keepConnected(socket, log) };
    log.info({ mode: socket === undefined ? 'HTTP' : 'Socket Mode' }, 'Connected to Slack');
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
      await connection?.keeping?.stop();
      await connection?.app.stop();
      bridge = undefined;
    },
  };
}

interface Connection {
  readonly app: App;
  /** Of Socket Mode. */
  readonly keeping: Repeated | undefined;
}

function createApp({ config, log }: SlackOptions): { app: App; socket: SocketModeReceiver | undefined } {
  const logger = boltLogger(log);
  const clientOptions: WebClientOptions = {
    logger,
    timeout: REQUEST_TIMEOUT_MS,
    // A post whose answer was lost may be there: delivery looks before it tries again.
    retryConfig: { retries: 0 },
    rejectRateLimitedCalls: true,
    fetch: patientFetch,
    ...(config.api !== undefined && { slackApiUrl: config.api }),
  };
  const socket = config.appToken === undefined ? undefined : createSocket(config.appToken, clientOptions, logger);
  const app = new App({
    token: config.botToken,
    ...(socket === undefined ? { signingSecret: config.signingSecret! } : { receiver: socket }),
    deferInitialization: true,
    logger,
    clientOptions,
  });
  return { app, socket };
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
