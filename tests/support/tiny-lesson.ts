/** What lessons of tiny models need: a model folder, photos, and a run of `train` from start to end. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { type ModelFolder, openModelFolder } from '../../worker/diffusion/model-folder.ts';
import { train } from '../../worker/pipelines/train.ts';
import type { TrainRequest } from '../../worker/pipelines/train-request.ts';
import { loadTensor, readSafetensorsHeader, saveSafetensors } from '../../worker/runtime/safetensors.ts';
import { completeSettings } from '../../worker/training/complete-settings.ts';
import { type ModelTraits, traitsOf } from '../../worker/training/default-settings.ts';
import type { LessonReport } from '../../worker/training/lesson-report.ts';
import type { GivenSettings } from '../../worker/training/settings.ts';
import { saveTinyNetwork, saveTinyPipeline, type TinyPipelineOptions } from './tiny-folder.ts';

/** Pixels of the photos' sides. */
export const SIDE = 64;

/** As many levels as adapters feed, and no more layers than lessons of a second allow. */
const UNET = {
  sample_size: 8,
  block_out_channels: [8, 16, 16, 16],
  norm_num_groups: 4,
  layers_per_block: 1,
  attention_head_dim: 2,
  cross_attention_dim: 12,
};
/** Brings the tiny VAE's latents to about unit deviation. */
const SCALING_FACTOR = 2;

/** Writes a model that a lesson of a few seconds can teach: a small UNet, and a VAE that is sure of its latents. */
export async function saveTinyStudent(folder: string, scheduler: TinyPipelineOptions['scheduler'] = {}): Promise<void> {
  await saveTinyPipeline(folder, { scheduler });
  await saveTinyNetwork(join(folder, 'unet'), 'UNet2DConditionModel', UNET);
  const config = join(folder, 'vae', 'config.json');
  const json = JSON.parse(await readFile(config, 'utf8'));
  await writeFile(config, JSON.stringify({ ...json, scaling_factor: SCALING_FACTOR }));
  await narrowPosterior(join(folder, 'vae', 'diffusion_pytorch_model.safetensors'));
}

/** 13 million numbers: enough for weights, activations and moments to show beside the process itself. */
const LARGER_UNET = { ...UNET, block_out_channels: [48, 96, 192, 192], norm_num_groups: 16, attention_head_dim: 8 };

/** The same with a larger UNet, for memory. */
export async function saveLargerStudent(folder: string): Promise<void> {
  await saveTinyStudent(folder);
  await saveTinyNetwork(join(folder, 'unet'), 'UNet2DConditionModel', LARGER_UNET);
}

/** Sets the log variance to -20: golden weights would bury a picture's latents in noise. */
async function narrowPosterior(file: string): Promise<void> {
  const { tensors } = await readSafetensorsHeader(file);
  const changed = await Promise.all(
    [...tensors.values()].map(async (stored) => {
      const values = await loadTensor(stored);
      const half = values.length / 2;
      if (stored.name === 'quant_conv.weight') values.fill(0, half);
      if (stored.name === 'quant_conv.bias') values.fill(-20, half);
      return [stored.name, { dtype: 'F32', shape: stored.shape, values }] as const;
    }),
  );
  await saveSafetensors(file, changed);
}

/** Writes a plain picture of each colour. */
export async function savePhotos(folder: string, colours: readonly string[], side = SIDE): Promise<void> {
  await mkdir(folder);
  for (const [i, background] of colours.entries()) {
    const picture = sharp({ create: { width: side, height: side, channels: 3, background } });
    await picture.png().toFile(join(folder, `${i}.png`));
  }
}

export type TinyRequest = Partial<TrainRequest> & { readonly instanceImages: string; readonly out: string };

/** Runs a lesson from start to end. */
export async function runTinyLesson(
  model: string,
  given: GivenSettings,
  request: TinyRequest,
): Promise<{ losses: number[]; result: string; report: LessonReport }> {
  const opened = await openModelFolder(model);
  const settings = completeSettings(
    { resolution: SIDE, gradientAccumulationSteps: 1, validationSteps: 0, ...given },
    publishedTraits(opened),
  );
  const loop = train({
    model: opened,
    settings,
    seed: 1,
    isResumed: false,
    classImageCache: `${request.out}.class-images`,
    session: { device: 'cpu', threads: 1 },
    onMessage: () => undefined,
    ...request,
  });
  const losses: number[] = [];
  for (let next = await loop.next(); ; next = await loop.next()) {
    if (next.done) return { losses, result: next.value.result!, report: next.value };
    if (next.value.kind === 'steps') losses.push(...next.value.reports.map(({ loss }) => loss));
  }
}

/** Lessons of these tests run as on the published models that the tiny ones stand for, and not as on the pocket model. */
function publishedTraits(model: ModelFolder): ModelTraits {
  const traits = traitsOf(model);
  return traits.family === 'pocket' ? { ...traits, family: 'sd' } : traits;
}
