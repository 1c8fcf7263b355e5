/** An answer of the API that is an error: Discord's code and text with an HTTP status. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly code: number;
  readonly details: unknown;

  constructor(message: string, { status, code, details }: { status: number; code: number; details?: unknown }) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

/** Codes and texts from Discord's documentation, Opcodes and Status Codes, "JSON Error Codes". */
const ERRORS = {
  unauthorized: [401, 0, '401: Unauthorized'],
  notFound: [404, 0, '404: Not Found'],
  unknownChannel: [404, 10003, 'Unknown Channel'],
  unknownMember: [404, 10007, 'Unknown Member'],
  unknownMessage: [404, 10008, 'Unknown Message'],
  unknownUser: [404, 10013, 'Unknown User'],
  unknownWebhook: [404, 10015, 'Unknown Webhook'],
  unknownInteraction: [404, 10062, 'Unknown interaction'],
  requestTooLarge: [413, 40005, 'Request entity too large'],
  alreadyAcknowledged: [400, 40060, 'Interaction has already been acknowledged.'],
  missingAccess: [403, 50001, 'Missing Access'],
  notYourMessage: [403, 50005, 'Cannot edit a message authored by another user'],
  emptyMessage: [400, 50006, 'Cannot send an empty message'],
  cannotSendToUser: [403, 50007, 'Cannot send messages to this user'],
  missingPermissions: [403, 50013, 'Missing Permissions'],
  invalidWebhookToken: [401, 50027, 'Invalid Webhook Token'],
  invalidFormBody: [400, 50035, 'Invalid Form Body'],
} as const satisfies Record<string, readonly [number, number, string]>;

export function apiError(name: keyof typeof ERRORS, details?: unknown): ApiError {
  const [status, code, message] = ERRORS[name];
  return new ApiError(message, { status, code, details });
}
