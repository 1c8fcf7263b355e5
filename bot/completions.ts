import type { CompletionSource } from '../commands/command.ts';
import { SPANS } from '../commands/sketch.ts';
import type { Actor, Place } from '../shared/jobs.ts';
import { conceptsFor } from './concepts.ts';
import type { BotContext } from './context.ts';
import { unfinishedJobsOf } from './job-rows.ts';
import { describeJob } from './wording.ts';

export interface CompletionRequest {
  readonly source: CompletionSource;
  readonly typed: string;
  readonly actor: Actor;
  readonly place: Place;
}

/** Discord shows no more. */
const MAX_COMPLETIONS = 25;

/** Suggestions that hold what was typed, those that begin with it first. */
export async function complete(context: BotContext, request: CompletionRequest): Promise<string[]> {
  const wanted = request.typed.trim().toLowerCase();
  const all = await sources[request.source](context, request);
  const found = all.filter((text) => text.toLowerCase().includes(wanted));
  const begins = (text: string) => Number(text.toLowerCase().startsWith(wanted));
  return found.toSorted((a, b) => begins(b) - begins(a)).slice(0, MAX_COMPLETIONS);
}

/** @returns what was typed too, since any span may be */
async function spans(_: BotContext, { typed }: CompletionRequest): Promise<string[]> {
  const own = typed.trim();
  return own === '' || SPANS.some((span) => span.startsWith(own)) ? SPANS : [own, ...SPANS];
}

const sources: {
  readonly [S in CompletionSource]: (context: BotContext, request: CompletionRequest) => Promise<string[]>;
} = {
  models: async ({ workers }) => {
    const names = workers.alive().flatMap(({ models }) => models.map(({ name }) => name));
    return [...new Set(names)].sort();
  },
  concepts: async ({ database }, who) => (await conceptsFor(database, who)).map(({ name }) => name),
  spans,
  jobs: async ({ database }, { actor }) =>
    (await unfinishedJobsOf(database, actor)).map(({ id, job }) => `${id} ${describeJob(job)}`),
};
