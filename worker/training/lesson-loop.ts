import { UserError } from '../../shared/errors.ts';
import { loadLatestCheckpoint, removeCheckpoints, saveCheckpoint } from './checkpoint-file.ts';
import { type LearningRateOptions, learningRateAt } from './learning-rate.ts';
import type { LessonIdentity } from './lesson-identity.ts';
import type { StepRecord } from './lesson-journal.ts';
import { MIN_SCALE, SCALING_NAME, scaleOf } from './loss-scaling.ts';
import {
  type LessonTrainer,
  type StepFeeds,
  type StepReport,
  type TrainerState,
  takenSteps,
  vectorNames,
} from './trainer.ts';

export interface LessonLoopOptions extends LearningRateOptions {
  readonly trainer: LessonTrainer;
  readonly initial: TrainerState;
  /** The feeds of a step, counted from 0; asked for in the order of the steps. */
  readonly feeds: (step: number) => StepFeeds | Promise<StepFeeds>;
  /** Folder of the checkpoints. */
  readonly checkpointFolder: string;
  readonly checkpointingSteps: number;
  /** Steps between looks at the lesson, at which a run of the device ends as well; undefined for none. */
  readonly lookingSteps?: number | undefined;
  /** Tells one lesson from another: a checkpoint of another one is not gone on with. */
  readonly lessonKey: string;
  /** Written into every checkpoint, for whoever finds it without its command. */
  readonly identity?: LessonIdentity | undefined;
  readonly isResumed: boolean;
  /** Writes steps down; a checkpoint is saved when that is done, so that none knows more than what is written. */
  readonly record?: ((steps: readonly StepRecord[]) => Promise<void>) | undefined;
  /** Ends the lesson after the run under way, with a checkpoint of its last step. */
  readonly signal?: AbortSignal | undefined;
}

/** What is known after each run of the device. */
export interface LessonProgress {
  /** Steps that are done. */
  readonly step: number;
  readonly maxTrainSteps: number;
  /** Of the run's last step. */
  readonly learningRate: number;
  /** Of the run's steps, oldest first. */
  readonly reports: readonly StepReport[];
  readonly secondsPerStep: number;
}

/** Group of a checkpoint that holds the vectors of a trainer's state. */
export const STATE_GROUP = 'state';

/** A run of the device takes about this long, so that progress and cancel are never far. */
const SECONDS_PER_RUN = 2;

/**
 * Takes a lesson's steps, yielding after each run of the device; a caller that stops asking stops the lesson, and it can go
 * on from its newest checkpoint. Steps draw their randomness from their number, so an interrupted lesson ends with the
 * weights of an undisturbed one.
 * @returns the state after the last step
 * @throws UserError if the checkpoint belongs to another lesson
 */
export async function* runLesson(options: LessonLoopOptions): AsyncGenerator<LessonProgress, TrainerState> {
  return yield* takeSteps(await startLesson(options), options);
}

/**
 * The state that a lesson begins or goes on with; one that begins anew removes the checkpoints of an older one.
 * @throws UserError if the checkpoint belongs to another lesson
 */
export async function startLesson(options: LessonLoopOptions): Promise<TrainerState> {
  if (!options.isResumed) await removeCheckpoints(options.checkpointFolder);
  return (options.isResumed ? await resumeState(options) : undefined) ?? options.initial;
}

/** Takes the steps that a state lacks, changing it; see runLesson. */
export async function* takeSteps(
  state: TrainerState,
  options: LessonLoopOptions,
): AsyncGenerator<LessonProgress, TrainerState> {
  const { trainer, maxTrainSteps, checkpointingSteps, lookingSteps, signal } = options;
  let stepsPerRun = 1;
  let savedStep = state.step;
  while (state.step < maxTrainSteps && !signal?.aborted) {
    const first = state.step;
    const ends = [checkpointingSteps, lookingSteps ?? maxTrainSteps].map((interval) => interval - (first % interval));
    const count = Math.min(stepsPerRun, maxTrainSteps - first, ...ends);
    const steps = Array.from({ length: count }, (_, i) => first + i);
    const started = performance.now();
    const taken = takenSteps(state);
    const rates = steps.map((_, i) => learningRateAt(taken + i, options));
    const fed: StepFeeds[] = [];
    for (const step of steps) fed.push(await options.feeds(step));
    const reports = await trainer.run(state, fed, rates);
    const secondsPerStep = (performance.now() - started) / 1000 / count;
    stepsPerRun = Math.max(1, Math.round(SECONDS_PER_RUN / secondsPerStep));
    refuseBroken(reports, state);
    const records = stepRecords(first, { reports, rates, secondsPerStep });
    await options.record?.(records);
    if (state.step % checkpointingSteps === 0 || state.step === maxTrainSteps) {
      await saveState(options, state);
      savedStep = state.step;
    }
    yield { step: state.step, maxTrainSteps, learningRate: records.at(-1)!.learningRate, reports, secondsPerStep };
  }
  if (savedStep !== state.step) await saveState(options, state);
  return state;
}

function refuseBroken(reports: readonly StepReport[], { step, vectors }: TrainerState): void {
  const broken = reports.find(({ loss, gradNorm, isSkipped }) => {
    return !Number.isFinite(loss) || !(isSkipped || Number.isFinite(gradNorm));
  });
  const scaling = vectors[SCALING_NAME];
  if (broken) {
    const advice = `a lower learning rate helps${scaling ? ', or --mixed-precision no' : ''}`;
    throw new UserError(
      `Cannot go on with the lesson: its loss must stay finite, got ${broken.loss} before step ${step}; ${advice}`,
    );
  }
  if (scaling && scaleOf(scaling) < MIN_SCALE) {
    throw new UserError(
      `Cannot go on with the lesson: its gradients must fit into half precision at some loss scale, got none at ${MIN_SCALE}; --mixed-precision no helps`,
    );
  }
}

function stepRecords(
  first: number,
  run: { reports: readonly StepReport[]; rates: readonly number[]; secondsPerStep: number },
): StepRecord[] {
  let taken = 0;
  return run.reports.map(({ loss, gradNorm, isSkipped }, i) => ({
    kind: 'step',
    step: first + i + 1,
    loss,
    learningRate: run.rates[isSkipped ? taken : taken++]!,
    ...(!isSkipped && { gradNorm }),
    seconds: run.secondsPerStep,
  }));
}

async function saveState(
  { checkpointFolder, lessonKey, identity }: LessonLoopOptions,
  { step, vectors }: TrainerState,
): Promise<void> {
  const tensors = new Map(
    vectorNames({ step, vectors }).map((name) => [name, { shape: [vectors[name]!.length], values: vectors[name]! }]),
  );
  await saveCheckpoint(checkpointFolder, { step, groups: { [STATE_GROUP]: tensors }, state: { lessonKey, identity } });
}

/** Puts the checkpoint's vectors in the place of the initial ones, of which nothing stays in memory. */
async function resumeState({
  checkpointFolder,
  lessonKey,
  initial,
}: LessonLoopOptions): Promise<TrainerState | undefined> {
  const checkpoint = await loadLatestCheckpoint(checkpointFolder);
  if (!checkpoint) return undefined;
  for (const name of vectorNames(initial)) {
    const values = checkpoint.groups[STATE_GROUP]?.get(name)?.values;
    const isSame = values?.length === initial.vectors[name]?.length && checkpoint.state['lessonKey'] === lessonKey;
    if (!values || !isSame) {
      throw new UserError(
        `Cannot go on with the lesson: the checkpoint in ${checkpointFolder} must be of the same lesson, got one with other settings or pictures`,
      );
    }
    initial.vectors[name] = values;
  }
  initial.step = checkpoint.step;
  return initial;
}
