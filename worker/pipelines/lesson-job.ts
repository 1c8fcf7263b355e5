/** One lesson job from photos to a concept's weights, samples on the way. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import sharp from 'sharp';
import { UserError } from '../../shared/errors.ts';
import type { BlobRef, JobProgress, LessonJob, LessonResult } from '../../shared/jobs.ts';
import { type ModelFolder, openModelFolder } from '../diffusion/model-folder.ts';
import { loadTokenizer } from '../diffusion/tokenizer.ts';
import { listModels } from '../models/registry.ts';
import { completeSettings } from '../training/complete-settings.ts';
import { traitsOf } from '../training/default-settings.ts';
import { chooseIdentifier } from '../training/identifier.ts';
import { LESSON_FILES } from '../training/lesson-folder.ts';
import type { LessonReport } from '../training/lesson-report.ts';
import type { GivenSettings, TrainingSettings } from '../training/settings.ts';
import { type JobContext, lessonFolder } from './job-context.ts';
import { train } from './train.ts';
import type { LessonChoices, TrainRequest } from './train-request.ts';
import { saveCheckpointAs } from './use-checkpoint.ts';
import type { LessonEvent } from './watched-lesson.ts';

/** Looks at a lesson, from its beginning to its end. */
const LOOKS = 4;
/** Steps between checkpoints, from which a lesson goes on after its worker died. */
const CHECKPOINT_STEPS = 100;

/**
 * Teaches a subject. A lesson whose worker died goes on from its newest checkpoint.
 * @throws UserError if the photos or the settings do not fit; any error if it was cancelled
 */
export async function runLessonJob(job: LessonJob, context: JobContext): Promise<LessonResult> {
  const started = performance.now();
  const folder = lessonFolder(context.config, context.jobId);
  // A worker that died between the lesson's end and the job's left a lesson that cannot be gone on with.
  if (existsSync(join(folder, 'result', LESSON_FILES.report))) await rm(folder, { recursive: true });
  context.onProgress({ stage: 'Reading the photos', step: 0, stepCount: 1 });
  const model = await openNamedModel(job.model, context);
  const words = await wordsFor(job, model);
  const settings = completeSettings(await givenSettings(job, words), traitsOf(model));
  const request: TrainRequest = {
    model,
    settings,
    seed: job.seed,
    instanceImages: await writePhotos(job.photos, { folder, context }),
    out: join(folder, 'result'),
    isResumed: true,
    classImageCache: join(context.config.dataDir, 'class-images'),
    session: sessionOf(context),
    stop: context.steering.stop,
    pause: context.signal,
    choices: CHAT_CHOICES,
    onMessage: (stage) => context.onProgress({ stage, step: 0, stepCount: settings.maxTrainSteps }),
  };
  const { report, samples, losses } = await follow(request, context);
  const learned = await learnedOf(request, { report, chosenStep: context.steering.chosenStep, folder });
  const result = await resultOf(job, { learned, samples, words, context, out: request.out });
  await rm(folder, { recursive: true, force: true });
  const { drift, likeness } = report.samples.find(({ step }) => step === learned.step) ?? {};
  return {
    ...result,
    receipt: {
      model: job.model,
      method: job.method,
      steps: learned.step,
      finalLoss: losses.get(learned.step) ?? report.loss?.last ?? 0,
      ...(drift !== undefined && { drift }),
      ...(likeness !== undefined && { likeness }),
      device: context.device,
      durationSeconds: (performance.now() - started) / 1000,
      notes: endingNotes(learned, { step: report.step, maxTrainSteps: settings.maxTrainSteps }),
    },
  };
}

/** What a person in a chat can change, in the words of the command's options. */
export const CHAT_CHOICES: LessonChoices = {
  say: ({ method }) => (method === undefined ? undefined : `method: ${method}`),
  otherwise: 'a smaller model would, or a machine with more of it',
};

/** Why a lesson has fewer steps than it was to have. */
function endingNotes(learned: Learned, { step, maxTrainSteps }: { step: number; maxTrainSteps: number }): string[] {
  if (learned.step !== step)
    return [`The sample of step ${learned.step} was chosen at step ${step} of ${maxTrainSteps}`];
  return step < maxTrainSteps ? [`Stopped at step ${step} of ${maxTrainSteps}`] : [];
}

async function openNamedModel(name: string, { config }: JobContext): Promise<ModelFolder> {
  const known = (await listModels(config)).find((model) => model.name === name);
  if (!known) throw new UserError(`Cannot teach: there must be a model of that name, got ${name}`);
  return openModelFolder(known.folder);
}

function sessionOf({ config, device }: JobContext): TrainRequest['session'] {
  const { threads } = config.worker;
  return { device, ...(threads !== undefined && { threads }) };
}

/** The word that comes to mean the subject, and what stands for its name in prompts. */
interface LessonWords {
  readonly identifier: string;
  readonly promptText: string;
}

async function wordsFor({ method, name, classNoun }: LessonJob, model: ModelFolder): Promise<LessonWords> {
  if (method === 'textual-inversion') {
    const token = `<${name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-')}>`;
    return { identifier: token, promptText: token };
  }
  const identifier = chooseIdentifier(await loadTokenizer(model.textEncoders[0]!.tokenizerFolder));
  return { identifier, promptText: `${identifier} ${classNoun}` };
}

async function givenSettings(job: LessonJob, { identifier, promptText }: LessonWords): Promise<GivenSettings> {
  const { method, classNoun, maxTrainSteps, withPriorPreservation } = job;
  const steps = maxTrainSteps === undefined ? {} : { maxTrainSteps };
  const shared = {
    ...steps,
    checkpointingSteps: CHECKPOINT_STEPS,
    validationPrompt: `a photo of ${promptText}`,
    ...(maxTrainSteps !== undefined && { validationSteps: Math.ceil(maxTrainSteps / LOOKS) }),
  };
  if (method === 'textual-inversion') {
    return { method, ...shared, placeholderToken: identifier, initializerToken: lastWord(classNoun) };
  }
  const prior = withPriorPreservation === undefined ? {} : { withPriorPreservation };
  return { method, ...shared, ...prior, classNoun, identifier };
}

/** Of "teddy bear" the bear: a learned word starts from one token. */
function lastWord(classNoun: string): string {
  return classNoun.trim().split(/\s+/).at(-1) ?? classNoun;
}

async function writePhotos(
  photos: readonly BlobRef[],
  { folder, context }: { folder: string; context: JobContext },
): Promise<string> {
  const into = join(folder, 'photos');
  await mkdir(into, { recursive: true });
  for (const [i, photo] of photos.entries()) {
    await writeFile(join(into, `photo-${i + 1}.png`), await context.store.get(photo));
  }
  return into;
}

type Sample = LessonResult['samples'][number];

interface Followed {
  readonly report: LessonReport;
  readonly samples: Sample[];
  /** Average loss by the step at which a run of the device ended, since this process follows the lesson. */
  readonly losses: ReadonlyMap<number, number>;
}

async function follow(request: TrainRequest, context: JobContext): Promise<Followed> {
  const samples: Sample[] = [];
  const losses = new Map<number, number>();
  const loop = train(request);
  for (let next = await loop.next(); ; next = await loop.next()) {
    context.signal.throwIfAborted();
    if (next.done) return { report: next.value, samples, losses };
    if (next.value.kind !== 'preparing') context.steering.reached(next.value.step);
    if (next.value.kind === 'steps') losses.set(next.value.step, next.value.averageLoss);
    if (next.value.kind === 'sample') samples.push(...(await keepSample(next.value, context)));
    context.onProgress(progressOf(next.value, { settings: request.settings, samples }));
  }
}

async function keepSample(
  { step, pictures }: Extract<LessonEvent, { kind: 'sample' }>,
  { store }: JobContext,
): Promise<Sample[]> {
  const [first] = pictures;
  if (first === undefined) return [];
  const picture = await store.put(await readFile(first), { type: 'image/png', name: `step-${step}.png` });
  return [{ step, picture }];
}

function progressOf(
  event: LessonEvent,
  { settings, samples }: { settings: TrainingSettings; samples: readonly Sample[] },
): JobProgress {
  const shared = { step: event.step, stepCount: settings.maxTrainSteps, samples: [...samples] };
  if (event.kind === 'preparing') {
    return { stage: 'Drawing pictures of its class', step: event.done, stepCount: Math.max(1, event.total) };
  }
  if (event.kind !== 'steps') return { ...shared, stage: 'Drawing a sample' };
  const { averageLoss, secondsLeft } = event;
  return {
    ...shared,
    stage: 'Learning',
    loss: averageLoss,
    ...(secondsLeft !== undefined && { etaSeconds: [secondsLeft, 1.3 * secondsLeft] as [number, number] }),
  };
}

interface Learned {
  readonly step: number;
  /** A file or a folder. */
  readonly path: string;
}

/** The sample that somebody chose, or else the lesson's end. */
async function learnedOf(
  { out }: TrainRequest,
  { report, chosenStep, folder }: { report: LessonReport; chosenStep: number | undefined; folder: string },
): Promise<Learned> {
  if (chosenStep !== undefined && chosenStep !== report.step) {
    const path = await saveCheckpointAs({ out, step: chosenStep, target: join(folder, 'chosen') });
    return { step: chosenStep, path };
  }
  if (report.result === undefined) {
    throw new UserError('Cannot use what was learned: the lesson was stopped before its first step');
  }
  return { step: report.step, path: report.result };
}

const KINDS = { 'dreambooth-lora': 'lora', dreambooth: 'model', 'textual-inversion': 'embedding' } as const;

interface Outcome {
  readonly learned: Learned;
  readonly samples: readonly Sample[];
  readonly words: LessonWords;
  readonly context: JobContext;
  /** Folder of the lesson. */
  readonly out: string;
}

async function resultOf(
  { conceptId, method }: LessonJob,
  { learned, samples, words, context, out }: Outcome,
): Promise<Omit<LessonResult, 'receipt'>> {
  const files = await keepFiles(learned.path, context);
  return {
    kind: 'lesson',
    conceptId,
    appliedAs: { promptText: words.promptText, kind: KINDS[method], files },
    samples: [...samples],
    lossCurve: await keepCurve(out, context),
  };
}

/** Dots per inch of an SVG that is to be drawn twice as large as its pixels say. */
const DOUBLE_DENSITY = 144;

/** The loss curve as a PNG, since chats show no SVG. */
async function keepCurve(out: string, { store }: JobContext): Promise<BlobRef> {
  const svg = await readFile(join(out, LESSON_FILES.curve));
  const png = await sharp(svg, { density: DOUBLE_DENSITY }).png({ palette: true }).toBuffer();
  return store.put(png, { type: 'image/png', name: 'loss.png' });
}

/** What was learned, in the store: a file, or the files of a folder by their paths. */
async function keepFiles(result: string, { store }: JobContext): Promise<Record<string, BlobRef>> {
  const isFolder = (await stat(result)).isDirectory();
  const paths = isFolder ? await filesIn(result) : [result];
  const files: Record<string, BlobRef> = {};
  for (const path of paths) {
    const name = isFolder ? relative(result, path) : basename(path);
    files[name] = await store.put(await readFile(path), { type: 'application/octet-stream', name });
  }
  return files;
}

const NOT_THE_RESULT: readonly string[] = Object.values(LESSON_FILES);

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => !NOT_THE_RESULT.includes(relative(folder, path).split('/')[0]!));
}
