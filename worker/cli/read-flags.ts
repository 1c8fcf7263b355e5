import { type ParseArgsConfig, parseArgs } from 'node:util';
import { UserError } from '../../shared/errors.ts';

/** Reads the flags of a command. @throws UserError with the usage where one is unknown or lacks its value */
export function readFlags<const O extends NonNullable<ParseArgsConfig['options']>>(
  args: string[],
  options: O,
  usage: string,
) {
  try {
    return parseArgs({ args, options }).values;
  } catch (error) {
    throw new UserError(`${error instanceof Error ? error.message : error}\n${usage}`, { cause: error });
  }
}
