/** Any step of a lesson that something was kept of can become its result. */
import { join } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import { type ModelFolder, openModelFolder } from '../diffusion/model-folder.ts';
import { loadTensor } from '../runtime/safetensors.ts';
import { EMA_NAME, STATE_NAMES } from '../training/adamw.ts';
import { listCheckpoints, loadCheckpoint, readCheckpointState } from '../training/checkpoint-file.ts';
import { completeSettings } from '../training/complete-settings.ts';
import { traitsOf } from '../training/default-settings.ts';
import { listLearned, openLearned } from '../training/learned-file.ts';
import { checkpointFolderOf } from '../training/lesson-folder.ts';
import { type LessonIdentity, lessonIdentitySchema } from '../training/lesson-identity.ts';
import { STATE_GROUP } from '../training/lesson-loop.ts';
import type { GivenSettings, TrainingSettings } from '../training/settings.ts';
import { initialState, trainedTensors } from '../training/trainer.ts';
import type { LessonPlan } from './lesson-plans.ts';
import { requestedPlan } from './requested-plan.ts';

export interface UseCheckpointRequest {
  /** Folder of the lesson, which may still be going on. */
  readonly out: string;
  /** A step of a sample picture or of a checkpoint. */
  readonly step: number | 'latest';
  /** Where the result goes; `step-<step>` in the lesson's folder by default. */
  readonly target?: string | undefined;
}

interface Kept {
  readonly step: number;
  readonly file: string;
  readonly identity: LessonIdentity;
  readonly load: (plan: LessonPlan) => Promise<ReadonlyMap<string, Float32Array>>;
}

/**
 * Saves what a lesson had learned after a step as its result would have been saved.
 * @returns the path of the result
 * @throws UserError that lists the steps there are, if there is none such
 */
export async function saveCheckpointAs({ out, step, target }: UseCheckpointRequest): Promise<string> {
  const kept = await findKept(out, step);
  const { model, settings, seed } = await openLesson(kept.identity);
  if (settings.method === 'from-scratch') {
    throw new UserError('Cannot use a checkpoint: the lesson must have begun with a model, got one from scratch');
  }
  const plan = await requestedPlan({ model, settings, seed }, { hasPrior: false, hasMask: false });
  return plan.save(await kept.load(plan), target ?? join(out, `step-${String(kept.step).padStart(6, '0')}`));
}

/**
 * The seed that a lesson began with, for one that is gone on with.
 * @returns undefined if there is no checkpoint that says so
 */
export async function seedOfLesson(out: string): Promise<number | undefined> {
  const [newest] = await listCheckpoints(checkpointFolderOf(out));
  if (!newest) return undefined;
  return lessonIdentitySchema.safeParse((await readCheckpointState(newest.file))['identity']).data?.seed;
}

async function findKept(out: string, step: UseCheckpointRequest['step']): Promise<Kept> {
  const folder = checkpointFolderOf(out);
  // Of one step, the small file comes first.
  const all = [
    ...(await listLearned(folder)).map((entry) => ({ ...entry, open: openKeptLearned })),
    ...(await listCheckpoints(folder)).map((entry) => ({ ...entry, open: openKeptCheckpoint })),
  ];
  const steps = [...new Set(all.map((entry) => entry.step))].sort((a, b) => a - b);
  const wanted = step === 'latest' ? steps.at(-1) : step;
  const found = all.find((entry) => entry.step === wanted);
  if (found) return found.open(found.file);
  throw new UserError(
    `Cannot use a checkpoint of ${out}: the step must be one of ${steps.join(', ') || 'none, since nothing was kept'}, got ${step}`,
  );
}

async function openKeptLearned(file: string): Promise<Kept> {
  const { tensors, identity, step } = await openLearned(file);
  const load = async () => {
    const values = new Map<string, Float32Array>();
    for (const [name, stored] of tensors) values.set(name, await loadTensor(stored));
    return values;
  };
  return { step, file, identity, load };
}

async function openKeptCheckpoint(file: string): Promise<Kept> {
  const { step, groups, state } = await loadCheckpoint(file);
  const parsed = lessonIdentitySchema.safeParse(state['identity']);
  if (!parsed.success) throw new UserError(`Cannot use ${file}: it must say which lesson it belongs to, got nothing`);
  const stored = groups[STATE_GROUP];
  const load = async ({ lesson, loadInitial }: LessonPlan) => {
    const whole = initialState(lesson.trainables, await loadInitial(), { hasEma: lesson.hasEma ?? false });
    for (const name of [...STATE_NAMES, EMA_NAME] as const) {
      const values = stored?.get(name)?.values;
      if (values) whole.vectors[name] = values;
    }
    return trainedTensors(lesson.trainables, whole);
  };
  return { step, file, identity: parsed.data, load };
}

async function openLesson(
  identity: LessonIdentity,
): Promise<{ model: ModelFolder; settings: TrainingSettings; seed: number }> {
  const model = await openModelFolder(identity.model);
  // Settings that were complete when they were written are parsed again, so an older lesson's are not taken on trust.
  const settings = completeSettings(identity.settings as GivenSettings, traitsOf(model));
  return { model, settings, seed: identity.seed };
}
