import { type Logger, pino } from 'pino';
import type { Config } from './config.ts';

export type Log = Logger;

/** Fields that never reach the log, wherever they lie. */
const SECRET_FIELDS = ['token', 'password', 'secret', 'authorization', 'secretAccessKey', 'hubToken', 'url'];

/** A log of JSON lines on standard output. */
export function createLog({ logLevel }: Pick<Config, 'logLevel'>, part: string): Log {
  const paths = SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]);
  return pino({ level: logLevel, base: { part }, redact: { paths, censor: '(secret)' } });
}
