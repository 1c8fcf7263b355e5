/** What commands ask for besides jobs: lists, settings, concepts, cancelling. */
import type { Action, CommandContext, ConceptSummary, Invocation } from '../commands/command.ts';
import { UserError } from '../shared/errors.ts';
import { JOB_KINDS } from '../shared/queue.ts';
import { forgetConcept, ownConcept, renameConcept, shareConcept } from './concepts.ts';
import { type Dispatch, timeLeft } from './enqueue.ts';
import { findJob, type JobRow, requestCancel, unfinishedJobsOf } from './job-rows.ts';
import type { Acknowledgement } from './platform.ts';
import { changeSettings, settingsAt } from './settings.ts';
import { describeJob, joinLines, placeText, rangeText, sayPrivately, stageText } from './wording.ts';

type ActionKind = Exclude<Action['kind'], 'enqueue'>;
type ActionOf<K extends ActionKind> = Extract<Action, { kind: K }>;

interface Asked<K extends ActionKind> {
  readonly action: ActionOf<K>;
  readonly invocation: Invocation;
  readonly context: CommandContext;
}

const performers: { readonly [K in ActionKind]: (dispatch: Dispatch, asked: Asked<K>) => Promise<string> } = {
  say: async (_, { action }) => action.text,

  'list-concepts': async (_, { context }) => {
    if (context.concepts.length === 0) return 'Nothing has been taught here yet. `/teach` begins with 3 to 5 photos.';
    return joinLines('Concepts that you can use here:', ...context.concepts.map(describeConcept));
  },

  'share-concept': async ({ database }, { action, invocation }) => {
    const concept = await ownConcept(database, action.conceptId, invocation.actor);
    await shareConcept(database, concept.id, { sharedWith: action.sharedWith, place: invocation.place });
    const whose = {
      nobody: 'yours alone',
      channel: 'shared with this channel',
      server: 'shared with this server',
      everyone: 'shared with everyone, wherever this bot is',
    };
    return `**${concept.name}** is now ${whose[action.sharedWith]}`;
  },

  'rename-concept': async ({ database }, { action, invocation }) => {
    const concept = await ownConcept(database, action.conceptId, invocation.actor);
    await renameConcept(database, concept.id, action.name);
    return `**${concept.name}** is now called **${action.name}**`;
  },

  'forget-concept': async (dispatch, { action, invocation }) => {
    const concept = await ownConcept(dispatch.database, action.conceptId, invocation.actor, invocation);
    const removed = await forgetConcept(dispatch, concept);
    await Promise.all(JOB_KINDS.map((kind) => dispatch.signal(kind, { kind: 'forget', conceptId: concept.id })));
    return `**${concept.name}** is forgotten: ${removed.weights} files of weights, ${removed.photos} photos and ${removed.samples} samples were removed`;
  },

  'show-status': async (dispatch, { invocation }) => {
    const rows = await unfinishedJobsOf(dispatch.database, invocation.actor);
    if (rows.length === 0) return 'You have no jobs that wait or run';
    return joinLines('Your jobs:', ...(await Promise.all(rows.map((row) => describeRow(dispatch, row)))));
  },

  cancel: async (dispatch, { action, invocation }) => {
    const { database } = dispatch;
    const [newest] = action.jobId === undefined ? await unfinishedJobsOf(database, invocation.actor) : [];
    const row = action.jobId === undefined ? newest : await findJob(database, action.jobId);
    if (!row && action.jobId === undefined) return 'You have no jobs that wait or run';
    const { platform, userId } = invocation.actor;
    // Whose job it is is not told: another person's number is as good as none.
    if (!row || row.platform !== platform || row.owner_id !== userId) {
      throw new UserError(`Cannot cancel: you must have a job of that number, got ${action.jobId}`);
    }
    return cancelJob(dispatch, row);
  },

  'show-settings': async (_, { context }) => describeSettings(context.settings),

  'change-settings': async (dispatch, { action, invocation }) => {
    await changeSettings(dispatch, invocation.place, action);
    return joinLines('Changed. What holds here now:', describeSettings(await settingsAt(dispatch, invocation.place)));
  },
};

/** Carries out what a command asks for; only the person who asked sees the answer. */
export async function performAction(
  dispatch: Dispatch,
  asked: { action: Exclude<Action, { kind: 'enqueue' }>; invocation: Invocation; context: CommandContext },
): Promise<Acknowledgement> {
  // The table's entry for a kind takes that kind's action.
  const perform = performers[asked.action.kind] as (dispatch: Dispatch, asked: unknown) => Promise<string>;
  return { kind: 'message', reply: sayPrivately(await perform(dispatch, asked)) };
}

/** @returns what to say; the job ends within a second, and its acknowledgement shows it */
export async function cancelJob({ database, outbox }: Dispatch, row: JobRow): Promise<string> {
  if (row.finished_at) return 'That job has ended already';
  await requestCancel(database, row.id);
  await outbox.cancel({ ...row, is_cancel_requested: true });
  return `Cancelling ${describeJob(row.job)}`;
}

function describeConcept({ name, classNoun, method, model, owner, sharedWith }: ConceptSummary): string {
  const whom = { nobody: undefined, channel: 'the channel', server: 'the server', everyone: 'everyone' }[sharedWith];
  const shared = whom === undefined ? '' : `, shared with ${whom} by ${owner.displayName}`;
  return `- **${name}**, a ${classNoun}, ${method} on \`${model}\`${shared}`;
}

async function describeRow(dispatch: Dispatch, row: JobRow): Promise<string> {
  const line = await dispatch.lines.placeOf(row);
  const own = dispatch.estimates.secondsFor(row.job);
  if (row.state === 'queued') {
    const eta = rangeText(timeLeft(dispatch, { ...line, own }));
    return `- \`${row.id}\` ${describeJob(row.job)}: ${placeText(line)} in the queue, ${eta}`;
  }
  const { progress } = row;
  const stage = progress ? stageText(progress) : 'starting';
  const left = progress?.etaSeconds ? `, ${rangeText(progress.etaSeconds)} left` : '';
  return `- \`${row.id}\` ${describeJob(row.job)}: ${stage}${left}`;
}

function describeSettings(settings: CommandContext['settings']): string {
  const { model, numInferenceSteps, guidanceScale, negativePrompt, maxCount, maxSteps, maxJobsPerUser } = settings;
  return joinLines(
    `- model: \`${model}\``,
    `- steps: ${numInferenceSteps ?? 'the model’s own'}, at most ${maxSteps}`,
    `- guidance: ${guidanceScale ?? 'the model’s own'}`,
    negativePrompt === undefined ? undefined : `- negative prompt: ${negativePrompt}`,
    `- pictures per command: at most ${maxCount}`,
    `- jobs per person, waiting and running: at most ${maxJobsPerUser}`,
    `- lessons: ${settings.mayTeach ? 'allowed' : 'switched off'}`,
  );
}
