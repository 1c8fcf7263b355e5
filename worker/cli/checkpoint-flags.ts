import { parseArgs } from 'node:util';
import { UserError } from '../../shared/errors.ts';
import type { UseCheckpointRequest } from '../pipelines/use-checkpoint.ts';

const FLAG = '--from-checkpoint';

/**
 * Parses `--from-checkpoint STEP --out FOLDER`, which takes what a lesson had learned out of its checkpoints.
 * @returns undefined if the command is about something else
 * @throws UserError that names the option, the rule and the value received
 */
export function parseCheckpointFlags(args: string[]): UseCheckpointRequest | undefined {
  if (!args.some((arg) => arg === FLAG || arg.startsWith(`${FLAG}=`))) return undefined;
  const { out, 'from-checkpoint': step } = readOptions(args);
  if (!out) throw new UserError(`Cannot use a checkpoint: --out must be the folder of the lesson, got none`);
  if (step === 'latest') return { out, step };
  if (step === undefined || !/^\d+$/.test(step)) {
    throw new UserError(`Cannot use a checkpoint: ${FLAG} must be a step or latest, got ${JSON.stringify(step)}`);
  }
  return { out, step: Number(step) };
}

function readOptions(args: string[]): { out?: string | undefined; 'from-checkpoint'?: string | undefined } {
  try {
    return parseArgs({ args, options: { out: { type: 'string' }, 'from-checkpoint': { type: 'string' } } }).values;
  } catch (error) {
    const got = error instanceof Error ? error.message : error;
    throw new UserError(`Cannot use a checkpoint: ${FLAG} must go with --out alone, got "${got}"`, { cause: error });
  }
}
