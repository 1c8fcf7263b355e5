/** One picture job from its options to stored pictures and a receipt. */
import { UserError } from '../../shared/errors.ts';
import type { PictureJob, PictureResult } from '../../shared/jobs.ts';
import { encodePng, loadPicture, type PictureSize } from '../diffusion/picture.ts';
import { addPngText } from '../diffusion/png-text.ts';
import { SCHEDULER_NAMES, type SchedulerName } from '../diffusion/schedulers/create-scheduler.ts';
import type { PictureRequest, StableDiffusion } from '../diffusion/stable-diffusion.ts';
import { float32Tensor, type Tensor } from '../runtime/session.ts';
import type { JobContext } from './job-context.ts';
import { type PreparedConcepts, prepareConcepts } from './picture-concepts.ts';
import { type AppliedControl, adherenceOf, type PreparedControl, prepareControls } from './picture-controls.ts';

type Made = PictureResult['pictures'][number] & { readonly png: Uint8Array };

/** Cancelling is not an error of anybody; it ends the loop from within. */
class Cancelled extends Error {}

/** Milliseconds between two previews: each costs a pass of the decoder. */
const PREVIEW_MS = 3000;

/**
 * Makes the pictures of a job.
 * @throws UserError if the job does not fit the model; any error if it was cancelled
 */
export async function runPictureJob(job: PictureJob, context: JobContext): Promise<PictureResult> {
  const started = performance.now();
  context.onProgress({ stage: 'Loading the model', step: 0, stepCount: job.count });
  const concepts = await prepareConcepts(job, context);
  const pipeline = await openModel(job, concepts, context);
  const size = sizeOf(job, pipeline);
  const controls = await prepareControls(job, size, context);
  const request = await requestOf(job, { pipeline, size, concepts, controls, context });
  const making = { job, pipeline, context, notes: new Set<string>() };
  const pictures: Made[] = [];
  for (let index = 0; index < job.count; index++) {
    const seed = (job.seed + index) % 2 ** 32;
    pictures.push(await makePicture({ ...request, seed }, { ...making, index }));
  }
  return {
    kind: 'picture',
    pictures: pictures.map(({ png: _, ...picture }) => picture),
    receipt: {
      prompt: job.prompt,
      ...(job.negativePrompt !== undefined && { negativePrompt: job.negativePrompt }),
      model: job.model,
      numInferenceSteps: request.numInferenceSteps,
      guidanceScale: request.guidanceScale,
      ...(job.scheduler !== undefined && { scheduler: job.scheduler }),
      controls: await Promise.all(controls.map((control) => measured(control, pictures))),
      concepts: job.concepts.map(({ name, scale }) => ({ name, scale })),
      device: context.device,
      durationSeconds: (performance.now() - started) / 1000,
      notes: [...making.notes],
    },
  };
}

/** A concept of full DreamBooth is a model of its own. */
function openModel(
  job: PictureJob,
  { modelFolder }: PreparedConcepts,
  { models }: JobContext,
): Promise<StableDiffusion> {
  return modelFolder === undefined ? models.get(job.model) : models.open(modelFolder, modelFolder);
}

async function measured(control: PreparedControl, pictures: readonly Made[]): Promise<AppliedControl> {
  const adherence = await adherenceOf(
    control,
    pictures.map(({ png }) => png),
  );
  return { ...control.applied, ...(adherence !== undefined && { adherence }) };
}

function sizeOf({ width, height }: PictureJob, { model: { unet, vae } }: StableDiffusion): PictureSize {
  const side = (unet.config.sampleSize ?? 64) * vae.config.vaeScaleFactor;
  return { width: width ?? side, height: height ?? side };
}

interface Prepared {
  readonly pipeline: StableDiffusion;
  readonly size: PictureSize;
  readonly concepts: PreparedConcepts;
  readonly controls: readonly PreparedControl[];
  readonly context: JobContext;
}

/** Fills in what the job leaves to the model. */
async function requestOf(
  job: PictureJob,
  { pipeline, size, concepts, controls, context }: Prepared,
): Promise<Omit<PictureRequest, 'seed'>> {
  const { unet } = pipeline.model;
  const isLatentConsistency = unet.config.timeCondProjDim !== undefined;
  const { image, strength = 0.75 } = job;
  return {
    ...concepts.request,
    ...size,
    negativePrompt: job.negativePrompt,
    numInferenceSteps: job.numInferenceSteps ?? (isLatentConsistency ? 4 : 20),
    guidanceScale: job.guidanceScale ?? (isLatentConsistency ? 8.5 : unet.config.addition ? 5 : 7.5),
    schedulerName: schedulerOf(job.scheduler),
    controls: controls.map(({ request }) => request),
    ...(image && { image: await startImage(await context.store.get(image), size), strength }),
  };
}

function schedulerOf(name: string | undefined): SchedulerName | undefined {
  const known = SCHEDULER_NAMES.find((candidate) => candidate === name);
  if (name !== undefined && known === undefined) {
    throw new UserError(`Cannot draw: the scheduler must be one of ${SCHEDULER_NAMES.join(', ')}, got ${name}`);
  }
  return known;
}

async function startImage(bytes: Uint8Array, size: PictureSize): Promise<Tensor> {
  return float32Tensor(await loadPicture(bytes, size, { channels: 3, range: 'signed' }), [
    1,
    3,
    size.height,
    size.width,
  ]);
}

interface Making {
  readonly job: PictureJob;
  readonly pipeline: StableDiffusion;
  readonly context: JobContext;
  readonly index: number;
  readonly notes: Set<string>;
}

async function makePicture(request: PictureRequest, making: Making): Promise<Made> {
  const { job, pipeline, context, index, notes } = making;
  const loop = pipeline.generate(request);
  const drawn = performance.now();
  let shownAt = drawn;
  for (let next = await loop.next(); ; next = await loop.next()) {
    if (context.signal.aborted) throw new Cancelled();
    if (next.done) {
      for (const part of next.value.truncated) notes.add(`too long for the text encoder, left out: "${part}"`);
      return savePicture(next.value.image, request, making);
    }
    const { stepIndex, stepCount, predOriginalSample } = next.value;
    const secondsPerStep = (performance.now() - drawn) / 1000 / (stepIndex + 1);
    const done = index * stepCount + stepIndex + 1;
    const left = (job.count * stepCount - done) * secondsPerStep;
    const isPreviewDue = performance.now() - shownAt > PREVIEW_MS && stepIndex + 1 < stepCount;
    context.onProgress({
      stage: job.count === 1 ? 'Drawing' : `Drawing ${index + 1} of ${job.count}`,
      step: done,
      stepCount: job.count * stepCount,
      etaSeconds: [left, 1.3 * left],
      ...(isPreviewDue && { preview: await savePreview(await pipeline.decode(predOriginalSample), context) }),
    });
    if (isPreviewDue) shownAt = performance.now();
  }
}

async function savePreview(image: Tensor, { store }: JobContext) {
  return store.put(await encode(image), { type: 'image/png', name: 'preview.png' });
}

/** The PNG carries what is needed to make it again. */
async function savePicture(image: Tensor, request: PictureRequest, { job, context }: Making): Promise<Made> {
  const { seed, width, height, numInferenceSteps, guidanceScale } = request;
  const recipe = JSON.stringify({ ...job, seed, width, height, numInferenceSteps, guidanceScale });
  const png = addPngText(await encode(image), { Software: 'Sketchbooth', sketchbooth: recipe });
  const blob = await context.store.put(png, { type: 'image/png', name: `sketchbooth-${seed}.png` });
  return { blob, png, width, height, seed, altText: altTextOf(job) };
}

function encode({ data, dims }: Tensor): Promise<Uint8Array> {
  const [, , height, width] = dims as [number, number, number, number];
  return encodePng(data as Float32Array, { width, height });
}

function altTextOf({ prompt, controls }: PictureJob): string {
  const by =
    controls.length === 0 ? '' : `, steered by ${controls.length === 1 ? 'a control image' : 'control images'}`;
  return `Generated picture: ${prompt}${by}`;
}
