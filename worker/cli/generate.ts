import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { loadConfig } from '../../shared/config.ts';
import { type ModelFolder, openModelFolder } from '../diffusion/model-folder.ts';
import { encodePng } from '../diffusion/picture.ts';
import { addPngText } from '../diffusion/png-text.ts';
import { SafetyChecker } from '../diffusion/safety-checker.ts';
import { type PictureResult, StableDiffusion } from '../diffusion/stable-diffusion.ts';
import { resolveModel } from '../models/registry.ts';
import { generatePicture, type PictureRecipe } from '../pipelines/generate-picture.ts';
import { chooseDevice } from '../runtime/device.ts';
import { randomSeed } from '../runtime/random.ts';
import { saveSafetensors } from '../runtime/safetensors.ts';
import type { Tensor } from '../runtime/session.ts';
import { type GenerateFlags, parseGenerateFlags } from './generate-flags.ts';
import { runCommand } from './run-command.ts';
import { StepProgress } from './step-progress.ts';

async function main(args: string[]): Promise<void> {
  const flags = parseGenerateFlags(args);
  const config = loadConfig();
  const folder = await resolveModel(flags.model, config);
  const model = await openModelFolder(folder);
  const recipe = await recipeOf(flags, model, (name, kind) => resolveModel(name, config, kind));
  const { device, reason } = await chooseDevice(flags.device);
  console.error(`Model ${folder}\nDevice ${reason}`);
  const options = {
    device,
    dtype: device === 'cuda' ? 'float16' : 'float32',
    ...(flags.threads !== undefined && { threads: flags.threads }),
  } as const;
  const tileSampleSize = flags.isTiled ? model.vae.config.sampleSize : undefined;
  const pipeline = new StableDiffusion(model, { ...options, tileSampleSize });
  const checker =
    flags.isChecked && model.safetyChecker ? await SafetyChecker.load(model.safetyChecker, options) : undefined;
  const latents: Tensor[] = [];
  try {
    for (let i = 0; i < flags.count; i++) {
      const numbered = { ...recipe, seed: recipe.seed + i };
      const result = await generateWithProgress(pipeline, numbered);
      const isHidden = (await checker?.isUnsafe(result.image)) ?? false;
      if (isHidden) console.error('The safety checker hid the picture; another seed or prompt may pass');
      const file = flags.count === 1 ? flags.out : flags.out.replace(/(\.png)$/i, `-${i + 1}$1`);
      await savePicture(file, isHidden ? blank(result.image) : result.image, { model: folder, device, ...numbered });
      latents.push(result.latents);
      console.log(`${file} (seed ${numbered.seed})`);
    }
  } finally {
    await pipeline.dispose();
    await checker?.dispose();
  }
  if (flags.outLatents !== undefined) await saveLatents(flags.outLatents, latents);
}

/** Fills in what the flags leave to the model. */
async function recipeOf(
  flags: GenerateFlags,
  model: ModelFolder,
  resolveName: (name: string, kind: 'controlnet' | 'adapter') => Promise<string>,
): Promise<PictureRecipe> {
  const { unet, vae } = model;
  const isLatentConsistency = unet.config.timeCondProjDim !== undefined;
  const side = (unet.config.sampleSize ?? 64) * vae.config.vaeScaleFactor;
  const usualGuidance = unet.config.addition ? 5 : 7.5;
  return {
    prompt: flags.prompt,
    negativePrompt: flags.negativePrompt,
    width: flags.width ?? side,
    height: flags.height ?? side,
    numInferenceSteps: flags.steps ?? (isLatentConsistency ? 4 : 50),
    guidanceScale: flags.guidanceScale ?? (isLatentConsistency ? 8.5 : usualGuidance),
    guidanceRescale: flags.guidanceRescale,
    seed: flags.seed ?? randomSeed(),
    schedulerName: flags.scheduler,
    eta: flags.eta,
    clipSkip: flags.clipSkip,
    image: absolute(flags.image),
    strength: flags.image === undefined ? undefined : (flags.strength ?? (flags.mask === undefined ? 0.8 : 1)),
    mask: absolute(flags.mask),
    controls: await Promise.all(
      flags.controls.map(async ({ kind, network, image, scale, start, end, isGuessMode }) => ({
        kind,
        folder: await resolveName(network, kind),
        image: resolve(image),
        conditioningScale: scale,
        controlGuidanceStart: start,
        controlGuidanceEnd: end,
        isGuessMode,
      })),
    ),
    loras: flags.loras.map(({ file, scale }) => ({ file: resolve(file), scale })),
    embeddings: flags.embeddings.map((file) => resolve(file)),
    latents: absolute(flags.latents),
  };
}

function absolute(file: string | undefined): string | undefined {
  return file === undefined ? undefined : resolve(file);
}

async function generateWithProgress(pipeline: StableDiffusion, recipe: PictureRecipe): Promise<PictureResult> {
  const loop = generatePicture(pipeline, recipe);
  let progress: StepProgress | undefined;
  const started = performance.now();
  try {
    for (let next = await loop.next(); ; next = await loop.next()) {
      if (next.done) {
        for (const part of next.value.truncated) console.error(`Too long for the text encoder, left out: "${part}"`);
        return next.value;
      }
      const { stepIndex, stepCount } = next.value;
      if (progress) {
        progress.update(stepIndex + 1);
        continue;
      }
      console.error(`Loaded and first step done after ${((performance.now() - started) / 1000).toFixed(1)} s`);
      progress = new StepProgress('Denoising', stepCount);
    }
  } finally {
    progress?.stop();
  }
}

/** Writes the picture with a text chunk from which it can be made again. */
async function savePicture(file: string, image: Tensor, recipe: object): Promise<void> {
  const [, , height, width] = image.dims as [number, number, number, number];
  const png = await encodePng(image.data as Float32Array, { width, height });
  await writeFile(file, addPngText(png, { Software: 'Sketchbooth', sketchbooth: JSON.stringify(recipe) }));
}

function blank({ data, dims }: Tensor): Tensor {
  return { dtype: 'float32', data: new Float32Array(data.length).fill(-1), dims };
}

async function saveLatents(file: string, latents: readonly Tensor[]): Promise<void> {
  const [, ...shape] = latents[0]!.dims;
  const values = Float32Array.from(latents.flatMap(({ data }) => [...(data as Float32Array)]));
  await saveSafetensors(file, [['latents', { dtype: 'F32', shape: [latents.length, ...shape], values }]]);
}

await runCommand(main);
