import { UserError } from '../../shared/errors.ts';
import { alphasCumprod } from '../diffusion/schedulers/noise-schedule.ts';
import { loadTokenizer } from '../diffusion/tokenizer.ts';
import type { LossTarget } from '../training/diffusion-loss.ts';
import { chooseIdentifier } from '../training/identifier.ts';
import { openLessonFolder } from '../training/lesson-folder.ts';
import { emptyReport, type LessonReport } from '../training/lesson-report.ts';
import { classPrompt, instancePrompt } from '../training/prompts.ts';
import { type SampleOptions, stepFeeds } from '../training/samples.ts';
import { planFromScratch } from './from-scratch.ts';
import { type LessonExamples, type PriorOptions, prepareExamples } from './lesson-examples.ts';
import { checkMemory } from './lesson-memory.ts';
import { openViewer } from './lesson-view.ts';
import { requestedPlan } from './requested-plan.ts';
import { lessonKey, type PreparedLesson, teach } from './teach.ts';
import { batchOf, isClassKept, signalOf, type TrainRequest, targetOf } from './train-request.ts';
import type { LessonEvent } from './watched-lesson.ts';

export type { TrainRequest } from './train-request.ts';

/**
 * Runs a lesson from photos to files, yielding after each run of the device; a caller that stops asking stops it, and it
 * can go on from its newest checkpoint, which lies beside `out`. Its report and its loss curve lie in `out`.
 * @throws UserError if the photos, the settings or the checkpoint do not fit
 */
export async function* train(request: TrainRequest): AsyncGenerator<LessonEvent, LessonReport> {
  const { model, settings, seed } = request;
  checkPrecision(request);
  await openLessonFolder(request.out, request);
  await checkMemory(request);
  const signal = signalOf(request);
  let prepared: PreparedLesson;
  try {
    prepared = yield* prepareLesson(request, signal);
  } catch (error) {
    if (error !== signal.reason) throw error;
    return emptyReport({ model: model.folder, settings, seed, instancePrompt: undefined });
  }
  return yield* teach(request, prepared);
}

/** Describes a request's lesson and encodes all that it sees, yielding after each class picture that has to be made. */
export async function* prepareLesson(
  request: TrainRequest,
  signal: AbortSignal,
): AsyncGenerator<LessonEvent, PreparedLesson> {
  const { model, settings } = request;
  if (settings.method === 'from-scratch') return planFromScratch({ ...request, settings });
  const prior = priorOf(request);
  const plan = await requestedPlan(request, {
    hasPrior: prior !== undefined,
    hasMask: request.instanceMasks !== undefined,
  });
  const prompt = await instancePromptOf(request);
  const examples = yield* prepareExamples({
    ...request,
    resolution: settings.resolution,
    centerCrop: settings.centerCrop,
    instancePrompt: prompt,
    hasTextEncoders: 'trainTextEncoder' in settings && settings.trainTextEncoder,
    prior,
    signal,
  });
  const samples = {
    ...sampleOptions(request, { examples, target: targetOf(model) }),
    isOutputPreserved: prior !== undefined && prior.pictures === undefined,
    variants: plan.variants,
  };
  return {
    ...plan,
    prompt,
    pictureCount: examples.instances.length,
    viewer: openViewer(request, { apply: plan.apply, instances: examples.instances, instancePrompt: prompt }),
    feeds: (step) => stepFeeds(step, samples),
    key: await lessonKey(request, { prompt, files: examples.files }),
  };
}

/** @throws UserError where half precision would lose what the networks compute */
function checkPrecision({ settings, session, onMessage }: TrainRequest): void {
  if (settings.mixedPrecision === 'no') return;
  if (settings.method === 'from-scratch' && settings.component === 'vae') {
    throw new UserError(
      'Cannot train: a VAE must be trained with --mixed-precision no, whose range it needs, got fp16',
    );
  }
  if (session.device !== 'cpu') return;
  onMessage('The CPU computes fp16 in float32, with casts around every step of it: slower than --mixed-precision no');
}

function priorOf({ settings, classImages, classImageCache }: TrainRequest): PriorOptions | undefined {
  if (!('withPriorPreservation' in settings) || !isClassKept(settings)) return undefined;
  const { diffOutputPreservation, numClassImages } = settings;
  const pictures = { numClassImages, classImages, cacheFolder: classImageCache };
  const prompt = settings.classPrompt ?? classPrompt(settings.classNoun!);
  return { classPrompt: prompt, pictures: diffOutputPreservation ? undefined : pictures };
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
