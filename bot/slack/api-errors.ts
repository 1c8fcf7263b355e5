import { WebAPIHTTPError, WebAPIPlatformError, WebAPIRateLimitedError, WebAPIRequestError } from '@slack/web-api';
import { UserError } from '../../shared/errors.ts';
import { PermanentPostError, UnreachableError } from '../platform.ts';

/** What Slack answers where no retry can help, and what a person can do about it. */
const PERMANENT: Readonly<Record<string, string>> = {
  channel_not_found: 'the bot must be in the channel: write `/invite` and its name there',
  not_in_channel: 'the bot must be in the channel: write `/invite` and its name there',
  is_archived: 'the channel must not be archived',
  restricted_action: 'the workspace must let apps post in this channel',
  restricted_action_read_only_channel: 'the channel must not be read-only',
  restricted_action_thread_only_channel: 'the channel must take more than threads',
  cannot_reply_to_message: 'the message must take replies',
  user_not_found: 'the person must be in this workspace',
  user_disabled: 'the person must have an active account',
  cannot_dm_bot: 'the person must not be a bot',
};

/** The word by which Slack names what went wrong; undefined if it was something else, such as the network. */
export function slackError(error: unknown): string | undefined {
  return error instanceof WebAPIPlatformError ? error.data.error : undefined;
}

/**
 * Runs a call and tells apart what no retry can bring about.
 * @param doing  for the error: "post a result"
 * @throws PermanentPostError
 */
export async function request<T>(doing: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const code = slackError(error);
    if (code === undefined || !Object.hasOwn(PERMANENT, code)) throw error;
    throw new PermanentPostError(`Cannot ${doing}: ${PERMANENT[code]}, got ${code}`, { cause: error });
  }
}

/** What Slack answers to a good request that it cannot carry out at the moment. */
const PASSING = new Set(['fatal_error', 'internal_error', 'service_unavailable', 'request_timeout', 'ratelimited']);

function isUnreachable(error: unknown): boolean {
  if (error instanceof WebAPIHTTPError) return error.statusCode >= 500;
  if (error instanceof WebAPIPlatformError) return PASSING.has(error.data.error);
  return error instanceof WebAPIRequestError || error instanceof WebAPIRateLimitedError;
}

const RIGHT_TOKENS = {
  SLACK_BOT_TOKEN: 'the Bot User OAuth Token (xoxb-…) of an installed app',
  SLACK_APP_TOKEN: 'an app-level token (xapp-…) with connections:write',
};

/**
 * Carries out a part of the start that needs a token.
 * @throws UnreachableError if Slack does not answer now, UserError if it refuses the token
 */
export async function startWith<T>(token: keyof typeof RIGHT_TOKENS, part: () => Promise<T>): Promise<T> {
  try {
    return await part();
  } catch (cause) {
    if (isUnreachable(cause)) throw new UnreachableError(`Cannot reach Slack: ${(cause as Error).message}`, { cause });
    // Bolt's word for a socket that ended before it was of use.
    if (cause === undefined) throw new UnreachableError('Cannot reach Slack: its socket was closed at once');
    const code = slackError(cause);
    if (code === undefined) throw cause;
    throw new UserError(`Cannot connect to Slack: ${token} must be ${RIGHT_TOKENS[token]}, got ${code}`, { cause });
  }
}
