/** What every part of the Slack side works with. */
import type { WebClient } from '@slack/web-api';
import type { Logger } from 'pino';
import type { Command } from '../../commands/command.ts';
import type { BotInbox, MessageRef } from '../platform.ts';

export interface Bridge {
  readonly client: WebClient;
  readonly inbox: BotInbox;
  readonly commands: readonly Command[];
  readonly log: Logger;
  readonly botToken: string;
  /** The bot's own user. */
  readonly botUserId: string;
  readonly maxUploadBytes: number;
  /** Origin that may serve files besides Slack's, for tests. */
  readonly testOrigin: string | undefined;
  /** Messages that were begun with a key and lack their pictures, found after a crash. */
  readonly unfinished: Map<string, MessageRef>;
  /** Samples of lessons that are in their threads already, by channel, message and step. */
  readonly shownSamples: Set<string>;
}

/** Slack takes files of 1 GB; a picture of ours is never larger than this. */
export const UPLOAD_LIMIT_BYTES = 50 * 2 ** 20;
