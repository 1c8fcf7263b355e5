/** What the ledger test and the processes that it kills say to each other. */
import type { Acknowledgement, MessageRef } from '../../bot/platform.ts';
import type { Invocation } from '../../commands/command.ts';

export type ToLedgerBot =
  /** Comes first: the environment. */
  | { readonly kind: 'start'; readonly variables: Readonly<Record<string, string>> }
  | { readonly kind: 'invoke'; readonly invocation: Invocation }
  | { readonly kind: 'posted'; readonly call: number; readonly message: MessageRef | undefined }
  /** Die at the n-th statement from now, before it runs or after. */
  | { readonly kind: 'die'; readonly statement: number; readonly when: 'before' | 'after' };

export type FromLedgerBot =
  | { readonly kind: 'ready' }
  | { readonly kind: 'acknowledged'; readonly invocationId: string; readonly answer: Acknowledgement }
  | {
      readonly kind: 'post' | 'find';
      readonly call: number;
      readonly key: string;
      readonly isError: boolean;
      readonly text: string;
    };
