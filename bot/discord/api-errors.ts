/** Which of Discord's errors no retry can cure, and which mean that it cannot be reached. Numbers from its documentation, "JSON Error Codes". */
import { DiscordAPIError, HTTPError, RESTJSONErrorCodes } from 'discord.js';
import { PermanentPostError } from '../platform.ts';

const PERMANENT = new Set<number | string>([
  RESTJSONErrorCodes.UnknownChannel,
  RESTJSONErrorCodes.UnknownGuild,
  RESTJSONErrorCodes.UnknownMessage,
  RESTJSONErrorCodes.UnknownUser,
  RESTJSONErrorCodes.MissingAccess,
  RESTJSONErrorCodes.MissingPermissions,
  RESTJSONErrorCodes.CannotSendMessagesToThisUser,
  RESTJSONErrorCodes.InvalidFormBodyOrContentType,
  RESTJSONErrorCodes.MaximumNumberOfEditsToMessagesOlderThanOneHourReached,
]);

/**
 * Carries out a request to Discord.
 * @param doing  for the error: "post a result"
 * @param explain  more about an error that is permanent, such as which permission is missing
 * @throws PermanentPostError where no retry helps
 */
export async function request<T>(
  doing: string,
  call: () => Promise<T>,
  explain: () => string | undefined = () => undefined,
): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    if (!isCode(cause, ...PERMANENT)) throw cause;
    const more = explain();
    throw new PermanentPostError(`Cannot ${doing}: ${more ?? (cause as Error).message}`, { cause });
  }
}

export function isCode(error: unknown, ...codes: readonly (number | string)[]): error is DiscordAPIError {
  return error instanceof DiscordAPIError && codes.includes(error.code);
}

/** An interaction that somebody has answered already, or that nobody can answer any more. */
export function isUnanswerable(error: unknown): error is DiscordAPIError {
  return isCode(
    error,
    RESTJSONErrorCodes.UnknownInteraction,
    RESTJSONErrorCodes.InteractionHasAlreadyBeenAcknowledged,
    RESTJSONErrorCodes.InvalidWebhookToken,
    RESTJSONErrorCodes.UnknownWebhook,
  );
}

const NETWORK_CODE = /^(E(CONN|NOTFOUND|AI_AGAIN|TIMEDOUT|HOST|NET|PIPE)|UND_ERR)/;

/** Whether its servers did not answer, or answered that they cannot now; a later try may succeed. */
export function isUnreachable(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  if (error instanceof HTTPError) return error.status >= 500;
  const { code, cause } = error as { code?: unknown; cause?: unknown };
  const isNetwork = (typeof code === 'string' && NETWORK_CODE.test(code)) || error.name === 'AbortError';
  return isNetwork || isUnreachable(cause);
}
