import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createTrainer } from '../training/create-trainer.ts';
import { checkpointFolderOf } from '../training/lesson-folder.ts';
import { type LessonReport, reportOf, saveReport } from '../training/lesson-report.ts';
import { modelKey } from '../training/model-key.ts';
import { initialState, learningCount, type StepFeeds, type TrainerState, trainedTensors } from '../training/trainer.ts';
import type { LessonPlan } from './lesson-plans.ts';
import type { LessonViewer } from './lesson-viewer.ts';
import { adamwOf, signalOf, type TrainRequest } from './train-request.ts';
import { type LessonEvent, watchLesson } from './watched-lesson.ts';

/** A lesson with all that it sees. */
export interface PreparedLesson extends Pick<LessonPlan, 'lesson' | 'loadInitial' | 'checkpoints' | 'save'> {
  /** Undefined where pictures have prompts of their own. */
  readonly prompt: string | undefined;
  readonly pictureCount: number;
  /** The feeds of a step, counted from 0. */
  readonly feeds: (step: number) => StepFeeds | Promise<StepFeeds>;
  /** Undefined makes no sample pictures; disposed of with the lesson. */
  readonly viewer: LessonViewer | undefined;
  /** Closes what the feeds are read from, however the lesson ends. */
  readonly close?: () => Promise<void>;
  /** Of everything that decides the weights. */
  readonly key: string;
}

/** Takes a lesson's steps and leaves its result, its report and its loss curve in `out`. */
export async function* teach(
  request: TrainRequest,
  prepared: PreparedLesson,
): AsyncGenerator<LessonEvent, LessonReport> {
  const { model, settings, seed, out } = request;
  const { lesson, checkpoints, save, prompt, pictureCount, feeds, key, viewer } = prepared;
  request.onMessage(
    `${learningCount(lesson.trainables).toLocaleString('en-US')} parameters learn from ${pictureCount} pictures`,
  );
  const trainer = await createTrainer(lesson, adamwOf(settings), { ...request.session, checkpoints });
  const identity = { model: model.folder, settings, seed, instancePrompt: prompt };
  try {
    const { state, journal } = yield* watchLesson({
      ...settings,
      trainer,
      trainables: lesson.trainables,
      viewer,
      identity,
      out,
      signal: signalOf(request),
      initial: await startingState(prepared),
      feeds,
      checkpointFolder: checkpointFolderOf(out),
      lessonKey: key,
      isResumed: request.isResumed,
    });
    const isPaused = request.pause?.aborted === true && state.step < settings.maxTrainSteps;
    const isSaved = state.step > 0 && !isPaused;
    const result = isSaved ? await save(trainedTensors(lesson.trainables, state), out) : undefined;
    const report = reportOf(identity, journal, result);
    if (isSaved) await saveReport(out, report);
    return report;
  } finally {
    await viewer?.dispose();
    await trainer.dispose();
    await prepared.close?.();
  }
}

/** Where a lesson starts; of the values that were loaded for it nothing stays but their copy. */
export async function startingState({
  lesson,
  loadInitial,
}: Pick<PreparedLesson, 'lesson' | 'loadInitial'>): Promise<TrainerState> {
  return initialState(lesson.trainables, await loadInitial(), lesson);
}

/** A hash of everything that decides a lesson's weights. */
export async function lessonKey(
  request: TrainRequest,
  details: { prompt: string | undefined; files: readonly string[] },
): Promise<string> {
  const { model, settings, seed } = request;
  const others = ['checkpointingSteps', 'validationSteps', 'validationPrompt', 'numValidationImages', 'seed'];
  const decisive = Object.fromEntries(Object.entries(settings).filter(([name]) => !others.includes(name)));
  const hash = createHash('sha256').update(JSON.stringify([await modelKey(model), decisive, seed, details.prompt]));
  for (const file of details.files) hash.update(await readFile(file));
  return hash.digest('hex');
}
