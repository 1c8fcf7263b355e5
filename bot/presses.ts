/** Buttons and reactions on what the bot posted; they work a month later, since everything lies in the row. */
import { randomInt } from 'node:crypto';
import type { ResultAction } from '../commands/command.ts';
import { optionsOfJob } from '../commands/options-of-job.ts';
import { UserError } from '../shared/errors.ts';
import type { Control, PictureJob } from '../shared/jobs.ts';
import { cancelJob } from './actions.ts';
import { type Dispatch, enqueue } from './enqueue.ts';
import { findJob, findJobByMessage, type JobRow } from './job-rows.ts';
import { lineage } from './lineage.ts';
import type { Acknowledgement, Form, Press } from './platform.ts';
import { settingsAt } from './settings.ts';
import { steerLesson } from './steering.ts';
import { endReply, joinLines, receiptText, sayPrivately } from './wording.ts';

type Performer = (dispatch: Dispatch, pressed: Press, row: JobRow) => Promise<Acknowledgement>;

/** One press makes a control this much stronger; the same press backwards is its inverse. */
const CONTROL_STEP = 1.25;
const MAX_CONDITIONING_SCALE = 2;
/** How far a variation goes from its picture. */
const VARY_STRENGTH = 0.6;

const performers: { readonly [A in ResultAction]: Performer } = {
  variants: (dispatch, pressed, row) => again(dispatch, pressed, row, {}),
  vary: (dispatch, pressed, row) => again(dispatch, pressed, row, variation(row, pressed.argument ?? 1)),
  'more-control': (dispatch, pressed, row) => again(dispatch, pressed, row, scaledControls(row, CONTROL_STEP)),
  'less-control': (dispatch, pressed, row) => again(dispatch, pressed, row, scaledControls(row, 1 / CONTROL_STEP)),
  edit: async (dispatch, _, row) => ({ kind: 'form', form: editForm(dispatch, row) }),
  details: async ({ database }, _, row) => {
    return { kind: 'message', reply: sayPrivately(joinLines(receiptText(row), ...(await lineage(database, row)))) };
  },
  cancel: async (dispatch, pressed, row) => {
    refuseStranger('cancel', pressed, row);
    return { kind: 'message', reply: sayPrivately(await cancelJob(dispatch, row)) };
  },
  delete: async (dispatch, pressed, row) => {
    refuseStranger('delete', pressed, row);
    await removePost(dispatch, row);
    return done(pressed, 'Deleted');
  },
  'send-to-me': async (dispatch, pressed, row) => {
    const { actor } = pressed;
    const platform = dispatch.platforms.find(({ name }) => name === actor.platform);
    await platform?.sendDirect(actor, { ...endReply(row), buttons: [], mentions: [], isPrivate: true });
    return done(pressed, 'Sent to you');
  },
  'use-sample': (dispatch, pressed, row) => steer(dispatch, pressed, row),
  'stop-here': (dispatch, pressed, row) => steer(dispatch, pressed, row),
};

/** Carries out a press; a reaction on something else, or with another meaning, says nothing. */
export async function press(dispatch: Dispatch, pressed: Press): Promise<Acknowledgement> {
  const { database } = dispatch;
  const { target } = pressed;
  const row =
    'jobId' in target ? await findJob(database, target.jobId) : await findJobByMessage(database, target.message);
  if (row) return performers[pressed.action](dispatch, pressed, row);
  if ('message' in target) return { kind: 'silence' };
  throw new UserError('Cannot do that: the job it belongs to is gone');
}

/** Another picture of the same job, with a new seed, for the person who pressed. */
async function again(
  dispatch: Dispatch,
  pressed: Press,
  row: JobRow,
  changes: Partial<PictureJob>,
): Promise<Acknowledgement> {
  if (row.job.kind !== 'picture') throw new UserError('Cannot vary a lesson: only pictures can be varied');
  const { id, actor, place, uploadLimitBytes } = pressed;
  const { maxJobsPerUser } = await settingsAt(dispatch, place);
  const job = { ...row.job, seed: randomInt(2 ** 32), ...changes };
  return enqueue(dispatch, { id, actor, place, uploadLimitBytes, job, parentJobId: row.id, maxJobsPerUser });
}

function variation({ result }: JobRow, number: number): Partial<PictureJob> {
  const picture = result?.kind === 'picture' ? result.pictures[number - 1] : undefined;
  if (!picture) throw new UserError(`Cannot vary picture ${number}: the result has no such picture`);
  return { image: picture.blob, strength: VARY_STRENGTH };
}

/** The seed stays, so that the control is all that differs. */
function scaledControls({ job }: JobRow, factor: number): Partial<PictureJob> {
  if (job.kind !== 'picture' || job.controls.length === 0) {
    throw new UserError('Cannot change the control: this picture was made without one');
  }
  const controls = job.controls.map((control): Control => {
    const scale = Math.min(control.conditioningScale * factor, MAX_CONDITIONING_SCALE);
    return { ...control, conditioningScale: Math.round(scale * 100) / 100 };
  });
  return { controls, seed: job.seed };
}

/** The command that made the picture, filled in: a changed option is all that differs. */
function editForm({ commands }: Dispatch, row: JobRow): Form {
  const asked = optionsOfJob(row.job);
  const command = commands.find(({ name }) => name === asked.command);
  if (!command || row.job.kind !== 'picture') throw new UserError('Cannot edit this: only pictures can be edited');
  const shown = command.options.filter(({ type }) => type !== 'image');
  return {
    command: command.name,
    title: 'Edit and draw again',
    fields: shown.map((option) => ({ option, value: asked.options[option.name] })),
    hidden: {},
    images: asked.images,
    parentJobId: row.id,
  };
}

async function removePost({ database, platforms }: Dispatch, row: JobRow): Promise<void> {
  const post = await database.selectFrom('posts').selectAll().where('job_id', '=', row.id).executeTakeFirst();
  if (!post?.message) throw new UserError('Cannot delete that: it has not been posted yet; cancel it instead');
  await platforms.find(({ name }) => name === post.platform)?.remove(post.message);
  await database.updateTable('posts').set({ state: 'removed' }).where('job_id', '=', row.id).execute();
}

/** Ends a lesson with a sample that is liked, or where it is. */
async function steer(dispatch: Dispatch, pressed: Press, row: JobRow): Promise<Acknowledgement> {
  const { action, argument: step } = pressed;
  refuseStranger('steer the lesson', pressed, row);
  if (row.job.kind !== 'lesson' || row.finished_at) throw new UserError('Cannot do that: the lesson has ended');
  const kind = action === 'use-sample' ? action : 'stop-here';
  await steerLesson(dispatch, row, { kind, step });
  const what = kind === 'use-sample' ? `and the state of step ${step ?? 'of now'} is kept` : 'with what it has learned';
  return { kind: 'message', reply: sayPrivately(`The lesson ends now, ${what}`) };
}

/** What was done is seen after a reaction; to say it would take a message of its own. */
function done({ target }: Press, text: string): Acknowledgement {
  return 'message' in target ? { kind: 'silence' } : { kind: 'message', reply: sayPrivately(text) };
}

function refuseStranger(doing: string, { actor, isModerator }: Press, { platform, owner_id }: JobRow): void {
  const isOwner = actor.platform === platform && actor.userId === owner_id;
  if (!isOwner && !isModerator) throw new UserError(`Cannot ${doing}: only the person who asked for it may do that`);
}
