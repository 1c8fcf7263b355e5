/** The bot's side of a chat platform, in memory: keeps what it is given and answers what a test sets. */
import { createHash } from 'node:crypto';
import sharp from 'sharp';
import type { Acknowledgement, BotInbox, MessageRef, Press, Reply } from '../../bot/platform.ts';
import type { CompletionSource, Invocation } from '../../commands/command.ts';
import { UserError } from '../../shared/errors.ts';
import type { BlobRef } from '../../shared/jobs.ts';

export interface MemoryInbox extends BotInbox {
  readonly invocations: Invocation[];
  readonly presses: Press[];
  readonly acknowledgements: { readonly jobId: string; readonly message: MessageRef }[];
  readonly completions: { readonly source: CompletionSource; readonly typed: string }[];
  answerInvoke: (invocation: Invocation) => Acknowledgement | Promise<Acknowledgement>;
  answerPress: (press: Press) => Acknowledgement | Promise<Acknowledgement>;
  words: readonly string[];
  keep(bytes: Uint8Array, type: string): BlobRef;
}

export function createMemoryInbox(): MemoryInbox {
  const blobs = new Map<string, Uint8Array>();
  const inbox: MemoryInbox = {
    invocations: [],
    presses: [],
    acknowledgements: [],
    completions: [],
    answerInvoke: () => ({ kind: 'message', reply: reply('Queued, #1'), jobId: 'job1' }),
    answerPress: () => ({ kind: 'message', reply: reply('Queued, #1'), jobId: 'job2' }),
    words: [],
    invoke: async (invocation) => {
      inbox.invocations.push(invocation);
      return inbox.answerInvoke(invocation);
    },
    press: async (press) => {
      inbox.presses.push(press);
      return inbox.answerPress(press);
    },
    complete: async (source, typed) => {
      inbox.completions.push({ source, typed });
      return inbox.words;
    },
    keepUpload: async (bytes, name) => {
      const { format } = await sharp(bytes)
        .metadata()
        .catch(() => {
          throw new UserError(`Cannot use ${name}: it must be a PNG, JPEG or WebP picture`);
        });
      return inbox.keep(bytes, `image/${format}`);
    },
    keep: (bytes, type) => {
      const hash = createHash('sha256').update(bytes).digest('hex');
      blobs.set(hash, bytes);
      return { hash, type, sizeBytes: bytes.byteLength };
    },
    readBlob: async ({ hash }) => {
      const bytes = blobs.get(hash);
      if (bytes === undefined) throw new Error(`Cannot read a blob: it must be kept first, got ${hash}`);
      return bytes;
    },
    acknowledged: async (jobId, message) => {
      inbox.acknowledgements.push({ jobId, message });
    },
  };
  return inbox;
}

export function reply(text: string, rest: Partial<Reply> = {}): Reply {
  return { text, pictures: [], buttons: [], isPrivate: false, mentions: [], ...rest };
}
