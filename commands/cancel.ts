import type { Command, CommandOption } from './command.ts';
import { readOptions } from './read-options.ts';

const OPTIONS = [
  {
    name: 'job',
    description: 'Which job of yours; the newest by default',
    type: 'text',
    maxLength: 100,
    completes: 'jobs',
  },
] as const satisfies readonly CommandOption[];

export const cancel = {
  name: 'cancel',
  description: 'Cancel a job of yours, waiting or running',
  options: OPTIONS,
  act(invocation) {
    const { job } = readOptions('cancel', OPTIONS, invocation);
    // Completions write the id first, then what the job is about.
    return { kind: 'cancel', jobId: job?.split(/\s/, 1)[0] };
  },
} satisfies Command;
