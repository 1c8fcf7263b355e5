import { WebAPIPlatformError } from '@slack/web-api';
import { PermanentPostError } from '../platform.ts';

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
