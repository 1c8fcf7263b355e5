/** What a chat platform must do for the bot, and what the bot does for it: words of the platform in, our words out. */
import type { CommandOption, CompletionSource, Invocation, OptionValue, ResultAction } from '../commands/command.ts';
import type { Actor, BlobRef, Place, PlatformName, ReplyTo } from '../shared/jobs.ts';

/** A message that the bot posted, as its platform finds it again. */
export interface MessageRef {
  readonly platform: PlatformName;
  readonly channelId: string;
  readonly messageId: string;
  readonly threadId?: string | undefined;
}

export interface ReplyButton {
  readonly action: ResultAction;
  readonly jobId: string;
  /** Which picture (from 1) or which step. */
  readonly argument?: number | undefined;
  readonly label: string;
  readonly emoji?: string | undefined;
  readonly style?: 'primary' | 'secondary' | 'danger';
}

export interface ReplyPicture {
  readonly blob: BlobRef;
  /** At most 1024 characters. */
  readonly altText: string;
}

/** What is said to people: the text is Markdown of `**bold**`, `code` and lists, written out in each platform's own way. */
export interface Reply {
  readonly text: string;
  readonly pictures: readonly ReplyPicture[];
  readonly buttons: readonly ReplyButton[];
  /** Only the person who asked sees it, where the platform can do that. */
  readonly isPrivate: boolean;
  /** Whom it calls by name; nobody else is ever mentioned. */
  readonly mentions: readonly Actor[];
  /** A bar: done of total. */
  readonly progress?: { readonly done: number; readonly total: number } | undefined;
  /** Control maps as they were followed, to be shown small beside the pictures. */
  readonly maps?: readonly ReplyPicture[] | undefined;
  /** Of a lesson: how far it is and what it drew on the way. Where it is given, a platform may show a strip and a curve. */
  readonly lesson?: ReplyLesson | undefined;
  /** The job that the reply is about. */
  readonly jobId?: string | undefined;
}

export interface ReplyLesson {
  readonly step: number;
  readonly loss?: number | undefined;
  /** Oldest first; a `use-sample` button with the step as argument takes one. */
  readonly samples: readonly { readonly step: number; readonly picture: ReplyPicture }[];
  /** The loss over all steps, drawn, for chats that draw no curve of their own; among the reply's pictures. */
  readonly curve?: ReplyPicture | undefined;
}

/** A form: options of a command, filled in as far as known. */
export interface Form {
  readonly command: string;
  readonly title: string;
  readonly fields: readonly { readonly option: CommandOption; readonly value?: OptionValue | undefined }[];
  /** Options that the form keeps and does not show. */
  readonly hidden: Readonly<Record<string, OptionValue>>;
  /** Images that it keeps, by option name. */
  readonly images: Readonly<Record<string, readonly BlobRef[]>>;
  readonly parentJobId?: string | undefined;
}

/** A pressed button or a reaction on a result. */
export interface Press {
  /** Of the platform's delivery: one that comes twice is carried out once. */
  readonly id: string;
  readonly action: ResultAction;
  /** By its job, or by the message that carries it (reactions). */
  readonly target: { readonly jobId: string } | { readonly message: MessageRef };
  readonly argument?: number | undefined;
  readonly actor: Actor;
  readonly isModerator: boolean;
  readonly place: Place;
  readonly uploadLimitBytes: number;
}

/** What the bot answers at once. `message` continues: the platform tells where it put it, and progress edits it. */
export type Acknowledgement =
  | {
      readonly kind: 'message';
      readonly reply: Reply;
      readonly jobId?: string | undefined;
      /** A rule was broken and nothing was done: a platform that still has what was typed gives it back to mend. */
      readonly isRefusal?: boolean;
    }
  | { readonly kind: 'form'; readonly form: Form }
  /** Nothing to say: a reaction that means nothing here. */
  | { readonly kind: 'silence' };

/** What a platform calls. Every call returns when its outcome is durable. */
export interface BotInbox {
  invoke(invocation: Invocation): Promise<Acknowledgement>;
  press(press: Press): Promise<Acknowledgement>;
  /** Suggestions for what was typed so far, at most 25. */
  complete(source: CompletionSource, typed: string, who: { actor: Actor; place: Place }): Promise<readonly string[]>;
  /** Copies what a person attached into the store after checking it. @throws UserError if it may not be used */
  keepUpload(bytes: Uint8Array, name: string): Promise<BlobRef>;
  readBlob(blob: BlobRef): Promise<Uint8Array>;
  /** Where the acknowledgement of a job was put; progress is edited into it. */
  acknowledged(jobId: string, message: MessageRef): Promise<void>;
}

/** One chat platform. */
export interface Platform {
  readonly name: PlatformName;
  /**
   * Connects and begins to listen.
   * @throws UnreachableError if its servers do not answer now: it may then be started again
   */
  start(inbox: BotInbox): Promise<void>;
  /**
   * Posts a result; may be called again with the same key after a crash and then must not post twice if it can know.
   * @param key  at most 25 characters
   * @throws PermanentPostError if no retry can help: the channel is gone, permission is missing
   */
  post(to: ReplyTo, reply: Reply, key: string): Promise<MessageRef>;
  /** Looks for a message that an earlier process posted with this key and did not record. */
  findPosted(to: ReplyTo, key: string): Promise<MessageRef | undefined>;
  edit(message: MessageRef, reply: Reply): Promise<void>;
  remove(message: MessageRef): Promise<void>;
  /** Sends a reply to a person alone. */
  sendDirect(to: Actor, reply: Reply): Promise<void>;
  /** Whether its connection stands. */
  isReady(): boolean;
  stop(): Promise<void>;
}

/** A post that no retry can bring about. */
export class PermanentPostError extends Error {
  override readonly name = 'PermanentPostError';
}

/** A platform that does not answer now. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}
