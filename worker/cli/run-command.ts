import { UserError } from '../../shared/errors.ts';
import { SafetensorsError } from '../runtime/safetensors.ts';

/** Runs a command line; what the person can fix is printed as one message, anything else with its stack. */
export async function runCommand(main: (args: string[]) => Promise<void>): Promise<void> {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    const isForPerson = error instanceof UserError || error instanceof SafetensorsError;
    console.error(isForPerson ? error.message : error);
    process.exitCode = 1;
  }
}
