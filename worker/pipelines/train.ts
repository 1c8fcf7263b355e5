import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { UserError } from '../../shared/errors.ts';
import type { ModelFolder } from '../diffusion/model-folder.ts';
import { alphasCumprod } from '../diffusion/schedulers/noise-schedule.ts';
import { solverSettings } from '../diffusion/schedulers/scheduler-config.ts';
import { loadTokenizer } from '../diffusion/tokenizer.ts';
import { elementCount } from '../runtime/element-count.ts';
import { RandomGenerator } from '../runtime/random.ts';
import type { SessionOptions } from '../runtime/session.ts';
import type { LossTarget } from '../training/diffusion-loss.ts';
import { chooseIdentifier } from '../training/identifier.ts';
import { checkpointFolderOf, openLessonFolder } from '../training/lesson-folder.ts';
import { type LessonReport, reportOf, saveCurve, saveReport } from '../training/lesson-report.ts';
import { modelKey } from '../training/model-key.ts';
import { classPrompt, instancePrompt } from '../training/prompts.ts';
import { type SampleOptions, stepFeeds } from '../training/samples.ts';
import type { TrainingSettings } from '../training/settings.ts';
import { initialState, Trainer, trainedTensors } from '../training/trainer.ts';
import { type LessonExamples, type PriorOptions, prepareExamples } from './lesson-examples.ts';
import { planLesson } from './lesson-plans.ts';
import { type LessonEvent, watchLesson } from './watched-lesson.ts';

export interface TrainRequest {
  readonly model: ModelFolder;
  readonly settings: TrainingSettings;
  readonly seed: number;
  readonly instanceImages: string;
  /** Masks named like the instance pictures, white where the subject is. */
  readonly instanceMasks?: string | undefined;
  readonly classImages?: string | undefined;
  readonly conditioningImages?: string | undefined;
  readonly out: string;
  readonly isResumed: boolean;
  /** Folder of class pictures that lessons share. */
  readonly classImageCache: string;
  readonly session: SessionOptions;
  /** Ends the lesson early with what has been learned as its result. */
  readonly stop?: AbortSignal | undefined;
  /** Ends the lesson early without a result; it can go on from there. */
  readonly pause?: AbortSignal | undefined;
  /** For the person: what is going on. */
  readonly onMessage: (message: string) => void;
}

/**
 * Runs a lesson from photos to files, yielding after each run of the device; a caller that stops asking stops it, and it
 * can go on from its newest checkpoint, which lies beside `out`. Its report and its loss curve lie in `out`.
 * @throws UserError if the photos, the settings or the checkpoint do not fit
 */
export async function* train(request: TrainRequest): AsyncGenerator<LessonEvent, LessonReport> {
  const { model, settings, seed, onMessage, out } = request;
  refuseUnsupported(settings);
  await openLessonFolder(out, request);
  const { vaeScaleFactor } = model.vae.config;
  const target = targetOf(model);
  const prior = priorOf(request);
  const plan = await planLesson(settings, {
    model,
    generator: new RandomGenerator(seed),
    lesson: {
      unet: model.unet.config,
      target,
      batch: batchOf(settings) * (prior ? 2 : 1),
      latentSide: settings.resolution / vaeScaleFactor,
      tokens: model.textEncoders[0]!.config.maxPositionEmbeddings,
      vaeScaleFactor,
      hasMask: request.instanceMasks !== undefined,
    },
  });
  const prompt = await instancePromptOf(request);
  const examples = await prepareExamples({
    ...request,
    resolution: settings.resolution,
    centerCrop: settings.centerCrop,
    instancePrompt: prompt,
    prior,
  });
  const { lesson } = plan;
  const count = lesson.trainables.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  onMessage(`${count.toLocaleString('en-US')} parameters learn from ${examples.instances.length} pictures`);
  const adamw = { beta1: settings.adamBeta1, beta2: settings.adamBeta2, epsilon: settings.adamEpsilon };
  const trainer = await Trainer.create(
    lesson,
    { ...adamw, weightDecay: settings.adamWeightDecay, maxGradNorm: settings.maxGradNorm },
    { ...request.session, checkpoints: plan.checkpoints },
  );
  try {
    const samples = { ...sampleOptions(request, { examples, target }), variants: plan.variants };
    const { state, journal } = yield* watchLesson({
      ...settings,
      trainer,
      out,
      signal: signalOf(request),
      initial: initialState(lesson.trainables, plan.initial, { hasEma: lesson.hasEma ?? false }),
      feeds: (step) => stepFeeds(step, samples),
      checkpointFolder: checkpointFolderOf(out),
      lessonKey: await lessonKey(request, { prompt, files: examples.files }),
      isResumed: request.isResumed,
    });
    await saveCurve(out, journal, settings.maxTrainSteps);
    const isPaused = request.pause?.aborted === true && state.step < settings.maxTrainSteps;
    const isSaved = state.step > 0 && !isPaused;
    const result = isSaved ? await plan.save(trainedTensors(lesson.trainables, state), out) : undefined;
    const facts = { model: model.folder, settings, seed, instancePrompt: prompt };
    const report = reportOf(facts, journal, result);
    if (isSaved) await saveReport(out, report);
    return report;
  } finally {
    await trainer.dispose();
  }
}

/** Settings that exist in the published scripts and not yet here are refused, never ignored. */
function refuseUnsupported(settings: TrainingSettings): void {
  const unsupported: readonly (readonly [flag: string, isAsked: boolean])[] = [
    ['--train-text-encoder', 'trainTextEncoder' in settings && settings.trainTextEncoder],
    ['--mixed-precision fp16', settings.mixedPrecision !== 'no'],
    ['--gradient-checkpointing', settings.gradientCheckpointing],
    ['--validation-prompt', settings.validationPrompt !== undefined],
  ];
  for (const [flag, isAsked] of unsupported) {
    if (isAsked) throw new UserError(`Cannot train: ${flag} is not there yet`);
  }
}

/** Accumulated passes are one larger batch: the mean over both is the same. */
function batchOf({ trainBatchSize, gradientAccumulationSteps }: TrainingSettings): number {
  return trainBatchSize * gradientAccumulationSteps;
}

function signalOf({ stop, pause }: TrainRequest): AbortSignal {
  return AbortSignal.any([stop, pause].filter((signal) => signal !== undefined));
}

function targetOf({ scheduler }: ModelFolder): LossTarget {
  const type = solverSettings(scheduler, 'ddpm').predictionType;
  if (type === 'sample') throw new UserError('Cannot train: the model must predict epsilon or v, got sample');
  return type;
}

function priorOf({ settings, classImages, classImageCache }: TrainRequest): PriorOptions | undefined {
  if (!('withPriorPreservation' in settings) || !settings.withPriorPreservation) return undefined;
  const prompt = settings.classPrompt ?? classPrompt(settings.classNoun!);
  return { classPrompt: prompt, numClassImages: settings.numClassImages, classImages, cacheFolder: classImageCache };
}

/** Undefined for textual inversion, which has prompts of its own; else "a photo of", a rare word of the vocabulary and the class noun, unless the person wrote a prompt. */
async function instancePromptOf({ model, settings, onMessage }: TrainRequest): Promise<string | undefined> {
  if (settings.method === 'textual-inversion') return undefined;
  if ('instancePrompt' in settings && settings.instancePrompt !== undefined) return settings.instancePrompt;
  if (!('classNoun' in settings) || settings.classNoun === undefined) {
    throw new UserError('Cannot train: there must be an --instance-prompt, got none');
  }
  const identifier =
    settings.identifier ?? chooseIdentifier(await loadTokenizer(model.textEncoders[0]!.tokenizerFolder));
  const prompt = instancePrompt(identifier, settings.classNoun);
  onMessage(`The subject is learned as "${prompt}"`);
  return prompt;
}

function sampleOptions(
  { model, settings, seed }: TrainRequest,
  { examples, target }: { examples: LessonExamples; target: LossTarget },
): SampleOptions {
  const side = settings.resolution / model.vae.config.vaeScaleFactor;
  const share = 'proportionEmptyPrompts' in settings ? settings.proportionEmptyPrompts : 0;
  return {
    ...examples,
    seed,
    target,
    alphasCumprod: alphasCumprod(model.scheduler),
    trainBatchSize: batchOf(settings),
    priorLossWeight: 'priorLossWeight' in settings ? settings.priorLossWeight : 0,
    latentShape: [model.vae.config.latentChannels, side, side],
    snrGamma: settings.snrGamma,
    offsetNoise: settings.offsetNoise,
    hasCubicTimesteps: settings.method === 't2i-adapter',
    emptyPrompt: { share, conditions: examples.emptyPrompt },
  };
}

/** A hash of everything that decides a lesson's weights. */
async function lessonKey(
  request: TrainRequest,
  details: { prompt: string | undefined; files: readonly string[] },
): Promise<string> {
  const { model, settings, seed } = request;
  const { checkpointingSteps: _, validationSteps: __, ...decisive } = settings;
  const hash = createHash('sha256').update(JSON.stringify([await modelKey(model), decisive, seed, details.prompt]));
  for (const file of details.files) hash.update(await readFile(file));
  return hash.digest('hex');
}
