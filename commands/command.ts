/** What a slash command is: options that every platform can ask for, and a pure function from invocation to action. */
import type { Actor, BlobRef, ControlKind, Job, LessonJob, Place } from '../shared/jobs.ts';

/** What is completed while the person types: lists that grow, and parts of a drawing, which may be any. */
export const COMPLETION_SOURCES = ['models', 'concepts', 'jobs', 'spans'] as const;
export type CompletionSource = (typeof COMPLETION_SOURCES)[number];

interface OptionBase {
  readonly name: string;
  readonly description: string;
  readonly isRequired?: boolean;
}

/** One option; at most 25 per command and at most 25 choices, which is Discord's limit. */
export type CommandOption = OptionBase &
  (
    | { readonly type: 'text'; readonly maxLength?: number; readonly completes?: CompletionSource }
    | { readonly type: 'choice'; readonly choices: readonly string[] }
    | { readonly type: 'integer' | 'number'; readonly min?: number; readonly max?: number }
    | { readonly type: 'boolean' }
    /** One picture, or several where `maxCount` says so: a platform without such an option asks for them in a form. */
    | { readonly type: 'image'; readonly minCount?: number; readonly maxCount?: number }
  );

export type OptionValue = string | number | boolean;

/** A command as it reached the bot, in our words; attachments are copied into the store before. */
export interface Invocation {
  /** Of the platform's delivery: one that comes twice is carried out once. */
  readonly id: string;
  readonly command: string;
  readonly options: Readonly<Record<string, OptionValue>>;
  /** By option name. */
  readonly images: Readonly<Record<string, readonly BlobRef[]>>;
  readonly actor: Actor;
  readonly isAdministrator: boolean;
  readonly place: Place;
  readonly uploadLimitBytes: number;
  /** The result that an edited form came from. */
  readonly parentJobId?: string;
}

/** A taught subject as commands see it. */
export interface ConceptSummary {
  readonly id: string;
  readonly name: string;
  readonly owner: Actor;
  /** `everyone` is whoever this bot talks with, on every platform. */
  readonly sharedWith: 'nobody' | 'channel' | 'server' | 'everyone';
  readonly classNoun: string;
  readonly model: string;
  readonly method: LessonJob['method'];
  readonly promptText: string;
  readonly kind: 'lora' | 'embedding' | 'model';
  readonly files: Readonly<Record<string, BlobRef>>;
}

/** Defaults and limits that apply where a command was given: the channel's, the server's, ours. */
export interface PlaceSettings {
  readonly model: string;
  readonly numInferenceSteps: number | undefined;
  readonly guidanceScale: number | undefined;
  readonly negativePrompt: string | undefined;
  readonly maxCount: number;
  readonly maxSteps: number;
  /** Waiting and running together. */
  readonly maxJobsPerUser: number;
  readonly mayTeach: boolean;
}

/** What a command may know beyond its invocation; dispatch reads it from the tables. */
export interface CommandContext {
  readonly settings: PlaceSettings;
  /** Names of the models that workers offer. */
  readonly models: readonly string[];
  /** Concepts that the person may use here. */
  readonly concepts: readonly ConceptSummary[];
  /** Which control networks a model has. */
  readonly controls: readonly { readonly model: string; readonly kind: ControlKind; readonly method: string }[];
  readonly randomSeed: () => number;
  readonly newId: () => string;
}

/** What is to be done: the only thing that a command returns. Dispatch carries it out. */
export type Action =
  | { readonly kind: 'enqueue'; readonly job: Job; readonly parentJobId?: string; readonly note?: string }
  | { readonly kind: 'say'; readonly text: string }
  | { readonly kind: 'list-concepts' }
  | { readonly kind: 'share-concept'; readonly conceptId: string; readonly sharedWith: ConceptSummary['sharedWith'] }
  | { readonly kind: 'rename-concept'; readonly conceptId: string; readonly name: string }
  | { readonly kind: 'forget-concept'; readonly conceptId: string }
  | { readonly kind: 'show-status' }
  /** Undefined cancels the person's newest job that is not finished. */
  | { readonly kind: 'cancel'; readonly jobId: string | undefined }
  | { readonly kind: 'show-settings' }
  | {
      readonly kind: 'change-settings';
      readonly scope: 'channel' | 'server';
      readonly changes: Partial<PlaceSettings>;
    };

/** One slash command; the files beside this one each export one, checked with `satisfies Command`. */
export interface Command {
  readonly name: string;
  readonly description: string;
  readonly options: readonly CommandOption[];
  readonly isForAdministrators?: boolean;
  /** As it is typed, for /help. */
  readonly example?: string;
  /**
   * Turns an invocation into an action; checks every option, since platforms do not.
   * @throws UserError that says the rule and the value received
   */
  readonly act: (invocation: Invocation, context: CommandContext) => Action;
}

/** What a person can do with a result, by button or by reaction. */
export const RESULT_ACTIONS = [
  'variants',
  'vary',
  'more-control',
  'less-control',
  'edit',
  'details',
  'delete',
  'send-to-me',
  'cancel',
  'use-sample',
  'stop-here',
] as const;
export type ResultAction = (typeof RESULT_ACTIONS)[number];
