/**
 * An error that the person who asked can fix; its message is fit to be shown to them as it is.
 * Everything else that is thrown is a fault of the program or of the machine.
 */
export class UserError extends Error {
  override readonly name = 'UserError';
}
