/** What server and page say to each other; types only, so that the page carries none of the server. */
import type { Command, CommandOption, Invocation, OptionValue } from '../../commands/command.ts';
import type { BlobRef } from '../../shared/jobs.ts';
import type { Acknowledgement, Form, Reply } from '../platform.ts';

export interface WirePerson {
  readonly id: string;
  readonly name: string;
  readonly isAdministrator: boolean;
}

/** What a person typed: plain words, or a command with what it was given. */
export interface Said {
  readonly text: string;
  readonly command?: string;
  readonly options?: Readonly<Record<string, OptionValue>>;
  readonly images?: Readonly<Record<string, readonly BlobRef[]>>;
}

/** Points of a lesson's loss curve. */
export type LossPoint = readonly [step: number, loss: number];

export interface WireMessage {
  readonly id: number;
  /** Grows with every change to any message; the page asks for what came after the newest that it knows. */
  readonly revision: number;
  readonly channelId: string;
  /** Undefined is the bot. */
  readonly author?: { readonly id: string; readonly name: string };
  /** ISO 8601. */
  readonly at: string;
  readonly said?: Said;
  readonly reply?: Reply;
  readonly losses?: readonly LossPoint[];
  /** Only its reader sees it. */
  readonly isPrivate: boolean;
  readonly isRemoved: boolean;
  readonly reactions: readonly WireReaction[];
}

export interface WireReaction {
  readonly emoji: string;
  readonly people: readonly { readonly id: string; readonly name: string }[];
}

export interface WireChannel {
  readonly id: string;
  readonly name: string;
}

export type WireCommand = Pick<Command, 'name' | 'description' | 'isForAdministrators'> & {
  readonly options: readonly CommandOption[];
};

/** Everything that the page needs before it can be shown. */
export type WireState =
  | { readonly needs: 'password' | 'name' }
  | {
      readonly needs: 'nothing';
      readonly person: WirePerson;
      readonly channels: readonly WireChannel[];
      readonly commands: readonly WireCommand[];
      readonly maxUploadBytes: number;
      readonly hasPassword: boolean;
    };

export type WireInvocation = Pick<Invocation, 'id' | 'command' | 'options' | 'images' | 'parentJobId'>;

/** What the page learns at once; what the bot says comes as a message. */
export type WireAcknowledgement =
  | { readonly kind: Exclude<Acknowledgement['kind'], 'form'> }
  | { readonly kind: 'form'; readonly form: Form };
