import type { Logger } from 'pino';
import { UserError } from '../shared/errors.ts';
import type { Acknowledgement } from './platform.ts';
import { sayPrivately } from './wording.ts';

/**
 * What a chat says when an answer failed before it reached the inbox: what the person can cure in its own words, the rest
 * with a number to find it in the log.
 */
export function sayFailure(log: Logger, deliveryId: string, error: unknown): Acknowledgement {
  if (error instanceof UserError) return { kind: 'message', reply: sayPrivately(error.message) };
  log.error({ err: error, deliveryId }, 'Cannot carry out what was asked');
  const text = `Something went wrong here, and nothing was done. Try again; if it stays so, tell whoever runs this bot the number \`${deliveryId}\``;
  return { kind: 'message', reply: sayPrivately(text) };
}
