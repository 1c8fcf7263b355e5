/** The making of the family, part by part: what each needs, learns and leaves in its folder. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openModelFolder } from '../../diffusion/model-folder.ts';
import { readJsonFile } from '../../diffusion/network-folder.ts';
import { loadTokenizer } from '../../diffusion/tokenizer.ts';
import { parseVaeConfig } from '../../networks/vae.ts';
import { loadTensor } from '../../runtime/safetensors.ts';
import type { SessionOptions } from '../../runtime/session.ts';
import { findComponentWeights } from '../../runtime/weight-files.ts';
import type { Trainable } from '../../training/adamw.ts';
import type { LessonProgress } from '../../training/lesson-loop.ts';
import { learnedNames } from '../../training/text-to-image-lesson.ts';
import { CONTROL_MAPS, type ControlMapKind } from '../renderer/control-maps.ts';
import { basePart } from './base-part.ts';
import { MODEL_INDEX_JSON, SCHEDULER_JSON, textEncoderJson, UNET_JSON, VAE_JSON } from './configs.ts';
import { CONTROL_CLASSES, type ControlNetwork, controlJson, controlPart } from './control-part.ts';
import { openRepaintedLatents, openSceneLatents } from './latents.ts';
import { openPromptEmbedder } from './prompt-embedder.ts';
import { type PartLesson, runPart, type Weights } from './run-part.ts';
import { saveJson, savePart } from './save-part.ts';
import { measureScalingFactor } from './scaling-factor.ts';
import { vaeDecoderPart } from './vae-decoder-part.ts';
import { vaePart } from './vae-part.ts';

export interface MakingOptions {
  /** Folder of the family: model, controlnet-sketch, ... */
  readonly folder: string;
  /** Checkpoints and cached latents; may be deleted when a part is done. */
  readonly workFolder: string;
  readonly seed: number;
  readonly minutes: number | undefined;
  /** Optimizer steps and learning rate in place of the part's own. */
  readonly steps?: number | undefined;
  readonly learningRate?: number | undefined;
  /** Whether a part starts from the float16 weights in its folder, with fresh moments. */
  readonly goesOn: boolean;
  readonly session: SessionOptions;
  readonly onMessage: (message: string) => void;
  readonly onProgress: (progress: LessonProgress) => void;
}

type MakePart = (options: MakingOptions) => Promise<number>;

const controlParts = [
  ...CONTROL_MAPS.filter((map) => map !== 'canny').map((map) => ['controlnet', map] as const),
  ...(['sketch', 'depth', 'segmentation'] as const).map((map) => ['adapter', map] as const),
];

const parts = new Map<string, MakePart>([
  ['vae', makeVae],
  ['vae-decoder', makeVaeDecoder],
  ['base', makeBase],
  ...controlParts.map(([network, map]): [string, MakePart] => [
    `${network}-${map}`,
    (options) => makeControl(options, { network, map }),
  ]),
]);

/** Names of the parts in the order in which they need each other. */
export const PART_NAMES: readonly string[] = [...parts.keys()];

/**
 * Makes one part, going on from its checkpoint if there is one, and writes what has been learned into the family's folder.
 * @returns the steps that it took in all
 */
export function makePart(name: string, options: MakingOptions): Promise<number> {
  const make = parts.get(name);
  if (!make) throw new Error(`Cannot make a part: it must be one of ${PART_NAMES}, got ${name}`);
  return make(options);
}

async function makeVae(options: MakingOptions): Promise<number> {
  const folder = join(options.folder, 'model', 'vae');
  const start = options.goesOn ? await loadWeights(folder) : undefined;
  const part = vaePart({ ...options, start });
  const { trained, steps } = await run('vae', part, options);
  const target = { folder, className: 'AutoencoderKL' } as const;
  // The factor is measured with the weights as they are stored.
  await savePart({ ...target, config: VAE_JSON }, part.lesson.trainables, trained);
  const scalingFactor = await measureScalingFactor(folder, options.session);
  options.onMessage(`Scaling factor ${scalingFactor.toFixed(5)}`);
  await savePart(
    { ...target, config: { ...VAE_JSON, scaling_factor: scalingFactor } },
    part.lesson.trainables,
    trained,
  );
  return steps;
}

/** Only the decoder learns: encoder and scaling factor are written as they were read. */
async function makeVaeDecoder(options: MakingOptions): Promise<number> {
  const folder = join(options.folder, 'model', 'vae');
  const saved = await findComponentWeights(folder);
  const start = await loadWeights(folder);
  const { scalingFactor } = parseVaeConfig(await readJsonFile(join(folder, 'config.json')));
  const latents = await openBothLatents(options);
  try {
    const part = vaeDecoderPart({ ...options, ...latents.caches, start, scalingFactor });
    const { trained, steps } = await run('vae-decoder', part, options);
    const config = { ...VAE_JSON, scaling_factor: scalingFactor };
    const target = { folder, className: 'AutoencoderKL', config } as const;
    await savePart(target, [...saved.tensors.values()], new Map([...start, ...trained]));
    return steps;
  } finally {
    await latents.close();
  }
}

async function makeBase(options: MakingOptions): Promise<number> {
  const model = join(options.folder, 'model');
  const folders = { unet: join(model, 'unet'), textEncoder: join(model, 'text_encoder') };
  const tokenizer = await loadTokenizer(join(model, 'tokenizer'));
  const latents = await openBothLatents(options);
  try {
    const part = basePart({
      ...options,
      ...latents.caches,
      tokenizer,
      start: options.goesOn ? await loadBase(folders) : undefined,
    });
    const { trained, steps } = await run('base', part, options);
    const unet = { folder: folders.unet, className: 'UNet2DConditionModel', config: UNET_JSON } as const;
    await savePart(unet, ...ownTensors(part, trained, learnedNames.unet('')));
    const textEncoder = {
      folder: folders.textEncoder,
      className: 'CLIPTextModel',
      config: textEncoderJson(tokenizer),
    } as const;
    await savePart(textEncoder, ...ownTensors(part, trained, learnedNames.textEncoder('')));
    await mkdir(join(model, 'scheduler'), { recursive: true });
    await saveJson(join(model, 'scheduler', 'scheduler_config.json'), SCHEDULER_JSON);
    await saveJson(join(model, 'model_index.json'), MODEL_INDEX_JSON);
    return steps;
  } finally {
    await latents.close();
  }
}

async function loadBase({ unet, textEncoder }: { unet: string; textEncoder: string }): Promise<Weights> {
  const own = async (folder: string, nameOf: (name: string) => string) =>
    [...(await loadWeights(folder))].map(([name, values]) => [nameOf(name), values] as const);
  return new Map([...(await own(unet, learnedNames.unet)), ...(await own(textEncoder, learnedNames.textEncoder))]);
}

/** The tensors of one of two networks that learned together, by their own names. */
function ownTensors(
  { lesson }: PartLesson,
  trained: Weights,
  prefix: string,
): [Pick<Trainable, 'name' | 'shape'>[], Weights] {
  const own = lesson.trainables.filter(({ name }) => name.startsWith(prefix));
  const ownName = (name: string) => name.slice(prefix.length);
  return [
    own.map(({ name, shape }) => ({ name: ownName(name), shape })),
    new Map(own.map(({ name }) => [ownName(name), trained.get(name)!])),
  ];
}

async function makeControl(
  options: MakingOptions,
  { network, map }: { network: ControlNetwork; map: ControlMapKind },
): Promise<number> {
  const name = `${network}-${map}`;
  const folder = join(options.folder, name);
  const model = await openModelFolder(join(options.folder, 'model'));
  const [textEncoder] = model.textEncoders;
  const tokenizer = await loadTokenizer(textEncoder!.tokenizerFolder);
  const embedder = await openPromptEmbedder(textEncoder!, tokenizer, options.session);
  const latents = await openLatents(options);
  try {
    const start = options.goesOn ? await loadWeights(folder) : undefined;
    const part = await controlPart({ ...options, network, map, model, latents, embedder, start });
    const { trained, steps } = await run(name, part, options);
    const target = { folder, className: CONTROL_CLASSES[network], config: controlJson(network, map) };
    await savePart(target, part.lesson.trainables, trained);
    return steps;
  } finally {
    await latents.close();
    await embedder.dispose();
  }
}

function openLatents(options: MakingOptions) {
  return openSceneLatents(latentOptions(options));
}

/** Of the scenes as they are captioned, and in colours that no caption names. */
async function openBothLatents(options: MakingOptions) {
  const latents = await openLatents(options);
  const repainted = await openRepaintedLatents(latentOptions(options));
  return {
    caches: { latents, repainted },
    close: async () => {
      await latents.close();
      await repainted.close();
    },
  };
}

function latentOptions({ folder, workFolder, session }: MakingOptions) {
  return { vaeFolder: join(folder, 'model', 'vae'), workFolder, session };
}

function run(name: string, part: PartLesson, { workFolder, ...options }: MakingOptions) {
  return runPart(part, { ...options, checkpointFolder: join(workFolder, `${name}.checkpoints`) });
}

/** Reads the weights of a part as they are stored, by name. */
async function loadWeights(folder: string): Promise<Map<string, Float32Array>> {
  const { tensors } = await findComponentWeights(folder);
  const weights = new Map<string, Float32Array>();
  for (const [name, stored] of tensors) weights.set(name, await loadTensor(stored));
  return weights;
}
