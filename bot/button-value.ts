/** What a button carries: enough to act on after a restart and a month later, in Discord's 100 characters. */
import { RESULT_ACTIONS, type ResultAction } from '../commands/command.ts';

export interface ButtonMeaning {
  readonly action: ResultAction;
  readonly jobId: string;
  readonly argument?: number | undefined;
}

const MAX_LENGTH = 100;

export function encodeButton({ action, jobId, argument }: ButtonMeaning): string {
  const id = [action, jobId, ...(argument === undefined ? [] : [argument])].join(':');
  if (id.length > MAX_LENGTH) throw new Error(`Cannot name a button: at most ${MAX_LENGTH} characters, got ${id}`);
  return id;
}

/** Undefined for a button that is not ours or of a version that named them otherwise. */
export function decodeButton(value: string): ButtonMeaning | undefined {
  const [name, jobId, argument] = value.split(':');
  const action = RESULT_ACTIONS.find((one) => one === name);
  if (action === undefined || jobId === undefined || jobId === '') return undefined;
  return { action, jobId, ...(argument !== undefined && { argument: Number(argument) }) };
}
