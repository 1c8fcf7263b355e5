import { type Logger, SocketModeReceiver } from '@slack/bolt';
import type { WebClientOptions } from '@slack/web-api';
import type { Log } from '../../shared/log.ts';
import { type Repeated, repeat } from '../repeat.ts';

const RETRY_MS = 5000;

/**
 * The way in by Socket Mode. It does not connect again by itself: Bolt's own way to do so ends the program when Slack
 * cannot be asked for the address of a new connection.
 */
export function createSocket(appToken: string, clientOptions: WebClientOptions, logger: Logger): SocketModeReceiver {
  return new SocketModeReceiver({ appToken, autoReconnectEnabled: false, installerOptions: { clientOptions }, logger });
}

/** Connects again whenever a connection that stands has ended: Slack ends each after some hours. */
export function keepConnected({ client }: SocketModeReceiver, log: Log): Repeated {
  let isConnected = true;
  const connecting = repeat(
    async () => {
      if (!isConnected) await client.start();
      isConnected = true;
      return false;
    },
    { everyMs: RETRY_MS, log, what: 'connect to Slack again' },
  );
  client.on('disconnected', () => {
    if (!isConnected) return;
    isConnected = false;
    connecting.wake();
  });
  return connecting;
}
