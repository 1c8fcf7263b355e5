import type { Command } from './command.ts';
import { readOptions } from './read-options.ts';

export const status = {
  name: 'status',
  description: 'Show your jobs: what runs, what waits, and how long it may take',
  options: [],
  act(invocation) {
    readOptions('show the status', [], invocation);
    return { kind: 'show-status' };
  },
} satisfies Command;
