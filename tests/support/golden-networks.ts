/** The golden runs of the networks, described for any lowering and any compute dtype. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { multiplyDims, type SymbolValues, symbol } from '../../worker/graph/dim.ts';
import { constant, input, mul, slice, sub } from '../../worker/graph/operators.ts';
import { Scope } from '../../worker/graph/scope.ts';
import { parametersOf, type Value } from '../../worker/graph/value.ts';
import {
  clipTextEncoder,
  finalLayerNorm,
  parseClipTextConfig,
  pooledText,
  projectText,
} from '../../worker/networks/clip.ts';
import { controlnet, parseControlnetConfig } from '../../worker/networks/controlnet.ts';
import { parseSafetyCheckerConfig, safetyImageEmbeds } from '../../worker/networks/safety-checker.ts';
import { parseT2iAdapterConfig, t2iAdapter } from '../../worker/networks/t2i-adapter.ts';
import { type UnetControls, type UnetInputs, unet } from '../../worker/networks/unet.ts';
import { parseUnetConfig } from '../../worker/networks/unet-config.ts';
import { parseVaeConfig, vaeDecoder, vaeEncoder } from '../../worker/networks/vae.ts';
import { type Checkpoint, openCheckpoint } from '../../worker/runtime/checkpoint.ts';
import { float32Tensor, int64Tensor, type Tensor } from '../../worker/runtime/session.ts';
import { findComponentWeights } from '../../worker/runtime/weight-files.ts';
import { expectGolden, type GoldenStatistics } from './golden.ts';
import {
  floats,
  goldenControlImage,
  goldenInput,
  saveGoldenWeights,
  temporaryFolder,
  tinyConfigs,
} from './tiny-models.ts';

export type ComputeDtype = 'float32' | 'float16';

/** One run of a tiny network whose results models.json knows. */
export interface GoldenRun {
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** Every symbol of the description. */
  readonly symbols: SymbolValues;
  /** Outputs are named after their entries in models.json. */
  readonly describe: (dtype: ComputeDtype) => Record<string, Value>;
}

const [batch, height, width] = [symbol('batch'), symbol('height'), symbol('width')];

/** Values of one compute dtype. */
function builders(dtype: ComputeDtype) {
  const vector = (name: string, ...shape: number[]) => input(name, { shape: [batch, ...shape], dtype });
  const image = (name: string, channels: number, factor: number) =>
    input(name, {
      shape: [batch, channels, multiplyDims(factor, height), multiplyDims(factor, width)],
      dtype,
    });
  const float32Vector = (name: string, ...shape: number[]) =>
    input(name, { shape: [batch, ...shape], dtype: 'float32' });
  const scalarInput = (name: string) => input(name, { shape: [], dtype });
  const scope = (name: string) => new Scope({ name, dtype });
  const unetInputs = (contextDim: number, { inChannels = 4, factor = 2 } = {}): UnetInputs => ({
    sample: image('sample', inChannels, factor),
    timestep: float32Vector('timestep'),
    encoderHiddenStates: vector('context', 77, contextDim),
  });
  const xlInputs = (): UnetInputs => ({
    ...unetInputs(28),
    textEmbeds: vector('textEmbeds', 16),
    timeIds: float32Vector('timeIds', 6),
  });
  const describeUnet = (name: UnetName, inputs: UnetInputs, controls?: UnetControls) =>
    unet(scope('unet'), parseUnetConfig(tinyConfigs[name]), inputs, controls);
  const describeControlnet = (
    name: 'controlnet-sd1' | 'controlnet-xl',
    inputs: UnetInputs,
    { isGuessMode = false, scale = 'scale' } = {},
  ) =>
    controlnet(scope('controlnet'), parseControlnetConfig(tinyConfigs[name]), {
      ...inputs,
      controlImage: image('cond', 3, 16),
      conditioningScale: scalarInput(scale),
      isGuessMode,
    });
  const features = (name: AdapterName) =>
    t2iAdapter(scope('adapter'), parseT2iAdapterConfig(tinyConfigs[name]), {
      image: image('cond', 3, 16),
      conditioningScale: scalarInput('scale'),
    });
  return { vector, image, scope, unetInputs, xlInputs, describeUnet, describeControlnet, features };
}

type UnetName = 'unet-sd1' | 'unet-sd2' | 'unet-xl' | 'unet-lcm' | 'unet-inpaint';
type AdapterName = 't2i-full' | 't2i-light' | 't2i-full-xl';

const scaled = (value: number) => float32Tensor(Float32Array.of(value), []);
const timesteps = (...values: number[]) => float32Tensor(Float32Array.from(values), [values.length]);
const sampleFeeds = { sample: goldenInput('sample', [2, 4, 8, 8]), timestep: timesteps(3, 701) };
const sd1Feeds = { ...sampleFeeds, context: goldenInput('ctx', [2, 77, 12]) };
const sd2Feeds = { ...sampleFeeds, context: goldenInput('ctx2', [2, 77, 16]) };
const controlFeeds = { ...sd1Feeds, cond: goldenControlImage('cond', [2, 3, 64, 64]) };
const xlFeeds = {
  sample: goldenInput('samplexl', [2, 4, 16, 16]),
  timestep: sampleFeeds.timestep,
  context: goldenInput('ctxxl', [2, 77, 28]),
  textEmbeds: goldenInput('pooled', [2, 16]),
  timeIds: float32Tensor(Float32Array.of(128, 128, 0, 0, 128, 128, 64, 96, 4, 8, 128, 128), [2, 6]),
};
const xlControlFeeds = { ...xlFeeds, cond: goldenControlImage('condxl', [2, 3, 128, 128]), scale: scaled(1) };
const two = { batch: 2, height: 4, width: 4 };
const twoXl = { batch: 2, height: 8, width: 8 };

const unetRuns: Record<string, GoldenRun> = {
  'SD 1 UNet': {
    feeds: sd1Feeds,
    symbols: two,
    describe: (dtype) => {
      const { describeUnet, unetInputs } = builders(dtype);
      return { 'unet-sd1.8x8': describeUnet('unet-sd1', unetInputs(12)) };
    },
  },
  'SD 1 UNet with sizes that do not halve evenly': {
    feeds: {
      sample: goldenInput('sample_odd', [1, 4, 7, 10]),
      timestep: timesteps(500),
      context: float32Tensor(floats(sd1Feeds.context).slice(0, 77 * 12), [1, 77, 12]),
    },
    symbols: { batch: 1, height: 7, width: 10 },
    describe: (dtype) => {
      const { describeUnet, unetInputs } = builders(dtype);
      return { 'unet-sd1.odd 7x10': describeUnet('unet-sd1', unetInputs(12, { factor: 1 })) };
    },
  },
  'SD 2 UNet': {
    feeds: sd2Feeds,
    symbols: two,
    describe: (dtype) => {
      const { describeUnet, unetInputs } = builders(dtype);
      return { 'unet-sd2': describeUnet('unet-sd2', unetInputs(16)) };
    },
  },
  'SD 2 UNet with masked prompt positions': {
    feeds: {
      ...sd2Feeds,
      mask: float32Tensor(
        Float32Array.from({ length: 154 }, (_, i) => (i >= 77 + 40 ? 0 : 1)),
        [2, 1, 1, 77],
      ),
    },
    symbols: two,
    describe: (dtype) => {
      const { describeUnet, unetInputs, vector } = builders(dtype);
      const hidden = sub(constant([1], [], dtype), vector('mask', 1, 1, 77));
      const encoderAttentionBias = mul(hidden, constant([-10000], [], dtype));
      return { 'unet-sd2.mask': describeUnet('unet-sd2', { ...unetInputs(16), encoderAttentionBias }) };
    },
  },
  'inpainting UNet': {
    feeds: {
      sample: goldenInput('sample9', [1, 9, 8, 8]),
      timestep: timesteps(701),
      context: goldenInput('ctx2', [1, 77, 16]),
    },
    symbols: { batch: 1, height: 4, width: 4 },
    describe: (dtype) => {
      const { describeUnet, unetInputs } = builders(dtype);
      return { 'unet-inpaint': describeUnet('unet-inpaint', unetInputs(16, { inChannels: 9 })) };
    },
  },
  'LCM UNet': {
    feeds: { ...sd2Feeds, timestepCond: goldenInput('w', [2, 6]) },
    symbols: two,
    describe: (dtype) => {
      const { describeUnet, unetInputs, vector } = builders(dtype);
      return {
        'unet-lcm': describeUnet('unet-lcm', { ...unetInputs(16), timestepCond: vector('timestepCond', 6) }),
      };
    },
  },
  'SDXL UNet': {
    feeds: xlFeeds,
    symbols: twoXl,
    describe: (dtype) => {
      const { describeUnet, xlInputs } = builders(dtype);
      return { 'unet-xl': describeUnet('unet-xl', xlInputs()) };
    },
  },
};

const controlRuns: Record<string, GoldenRun> = {
  'SD 1 ControlNet': {
    feeds: { ...controlFeeds, scale: scaled(0.7) },
    symbols: two,
    describe: (dtype) => {
      const { describeControlnet, describeUnet, unetInputs } = builders(dtype);
      const residuals = describeControlnet('controlnet-sd1', unetInputs(12));
      const { downBlockResiduals: down, midBlockResidual: mid } = residuals;
      return {
        'controlnet-sd1.down[0] scale .7': down[0]!,
        'controlnet-sd1.down[3] scale .7': down[3]!,
        'controlnet-sd1.down[11] scale .7': down[11]!,
        'controlnet-sd1.mid scale .7': mid,
        'unet-sd1+controlnet': describeUnet('unet-sd1', unetInputs(12), { controlnet: residuals }),
      };
    },
  },
  'SD 1 ControlNet in guess mode': {
    feeds: { ...controlFeeds, scale: scaled(1) },
    symbols: two,
    describe: (dtype) => {
      const { describeControlnet, unetInputs } = builders(dtype);
      const guess = describeControlnet('controlnet-sd1', unetInputs(12), { isGuessMode: true });
      return {
        'controlnet-sd1.guess.down[0]': guess.downBlockResiduals[0]!,
        'controlnet-sd1.guess.mid': guess.midBlockResidual,
      };
    },
  },
  'SDXL ControlNet': {
    feeds: xlControlFeeds,
    symbols: twoXl,
    describe: (dtype) => {
      const { describeControlnet, describeUnet, xlInputs } = builders(dtype);
      const residuals = describeControlnet('controlnet-xl', xlInputs());
      return { 'unet-xl+controlnet': describeUnet('unet-xl', xlInputs(), { controlnet: residuals }) };
    },
  },
  'full T2I-Adapter': adapterRun('t2i-full'),
  'light T2I-Adapter': adapterRun('t2i-light'),
  'SDXL T2I-Adapter': {
    feeds: xlControlFeeds,
    symbols: twoXl,
    describe: (dtype) => {
      const { describeUnet, features, xlInputs } = builders(dtype);
      const adapterFeatures = features('t2i-full-xl');
      return {
        ...namedFeatures('t2i-full-xl', adapterFeatures),
        'unet-xl+t2i': describeUnet('unet-xl', xlInputs(), { adapterFeatures }),
      };
    },
  },
  'T2I-Adapter together with a ControlNet': {
    feeds: { ...controlFeeds, scale: scaled(1), controlScale: scaled(0.7) },
    symbols: two,
    describe: (dtype) => {
      const { describeControlnet, describeUnet, features, unetInputs } = builders(dtype);
      const out = describeUnet('unet-sd1', unetInputs(12), {
        adapterFeatures: features('t2i-full'),
        controlnet: describeControlnet('controlnet-sd1', unetInputs(12), { scale: 'controlScale' }),
      });
      return { 'unet-sd1+t2i-full+controlnet': out };
    },
  },
};

function adapterRun(name: 't2i-full' | 't2i-light'): GoldenRun {
  return {
    feeds: { ...controlFeeds, scale: scaled(1) },
    symbols: two,
    describe: (dtype) => {
      const { describeUnet, features, unetInputs } = builders(dtype);
      const adapterFeatures = features(name);
      return {
        ...namedFeatures(name, adapterFeatures),
        [`unet-sd1+${name}`]: describeUnet('unet-sd1', unetInputs(12), { adapterFeatures }),
      };
    },
  };
}

function namedFeatures(name: AdapterName, features: readonly Value[]): Record<string, Value> {
  return Object.fromEntries(features.map((feature, i) => [`${name}.feature[${i}]`, feature]));
}

const vaeRuns: Record<string, GoldenRun> = {
  'VAE encoder': {
    feeds: {
      image: float32Tensor(
        floats(goldenInput('img', [1, 3, 64, 64])).map((value) => value / Math.sqrt(3)),
        [1, 3, 64, 64],
      ),
    },
    symbols: { batch: 1, height: 8, width: 8 },
    describe: (dtype) => {
      const { image, scope } = builders(dtype);
      const moments = vaeEncoder(scope('vae'), parseVaeConfig(tinyConfigs.vae), image('image', 3, 8));
      return { 'vae.mean': slice(moments, 1, [0, 4]), 'vae.logvar': slice(moments, 1, [4, 8]) };
    },
  },
  'VAE decoder': {
    feeds: { latents: goldenInput('lat', [1, 4, 8, 8]) },
    symbols: { batch: 1, height: 8, width: 8 },
    describe: (dtype) => {
      const { image, scope } = builders(dtype);
      return { 'vae.decode': vaeDecoder(scope('vae'), parseVaeConfig(tinyConfigs.vae), image('latents', 4, 1)) };
    },
  },
};

const ids = [118, 5, 17, 99, 3, 64, ...Array<number>(71).fill(119)];
const idsBeforeZeros = [118, 5, 17, 99, 3, 64, 119, ...Array<number>(70).fill(0)];

const clipRuns: Record<string, GoldenRun> = {
  'CLIP text encoder with quick_gelu': clipRun('clip-quickgelu', ids, {
    last: 'clip-quickgelu.last_hidden_state',
    pooled: 'clip-quickgelu.pooled',
    penultimate: 'clip-quickgelu.hidden_states[-2]',
    normalized: 'clip-quickgelu.final_ln(hidden_states[-2])',
  }),
  'CLIP text encoder with exact gelu': clipRun('clip-gelu', ids, { last: 'clip-gelu.last_hidden_state' }),
  'CLIP text encoder with projection': clipRun('clip-proj', idsBeforeZeros, {
    projected: 'clip-proj.text_embeds (pad=0 after eos)',
    penultimate: 'clip-proj.hidden_states[-2]',
  }),
  'safety checker': {
    feeds: { pixels: goldenInput('pix', [2, 3, 28, 28]) },
    symbols: { batch: 2 },
    describe: (dtype) => {
      const { scope, vector } = builders(dtype);
      const config = parseSafetyCheckerConfig(tinyConfigs.safety);
      return { 'safety.image_embeds': safetyImageEmbeds(scope('safety_checker'), config, vector('pixels', 3, 28, 28)) };
    },
  },
};

type ClipOutput = 'last' | 'pooled' | 'penultimate' | 'normalized' | 'projected';

function clipRun(
  name: 'clip-quickgelu' | 'clip-gelu' | 'clip-proj',
  inputIds: number[],
  entries: Partial<Record<ClipOutput, string>>,
): GoldenRun {
  return {
    feeds: { ids: int64Tensor(inputIds, [1, 77]), eos: int64Tensor([inputIds.indexOf(119)], [1]) },
    symbols: { batch: 1 },
    describe: (dtype) => {
      const config = parseClipTextConfig(tinyConfigs[name]);
      const scope = builders(dtype).scope('text_encoder');
      const { hiddenStates, lastHiddenState } = clipTextEncoder(scope, config, {
        inputIds: input('ids', { shape: [batch, 77], dtype: 'int64' }),
      });
      const pooled = pooledText(lastHiddenState, input('eos', { shape: [batch], dtype: 'int64' }));
      const penultimate = hiddenStates.at(-2)!;
      const outputs: Record<ClipOutput, () => Value> = {
        last: () => lastHiddenState,
        pooled: () => pooled,
        penultimate: () => penultimate,
        normalized: () => finalLayerNorm(scope, config, penultimate),
        projected: () => projectText(scope, 16, pooled),
      };
      const wanted = Object.entries(entries) as [ClipOutput, string][];
      return Object.fromEntries(wanted.map(([output, entry]) => [entry, outputs[output]()]));
    },
  };
}

/** Every golden run by a name for people. */
export const goldenRuns: Readonly<Record<string, GoldenRun>> = {
  ...unetRuns,
  ...controlRuns,
  ...vaeRuns,
  ...clipRuns,
};

/** The feeds of a run that its description reads: outputs of one part of a run do not need all of them. */
export function feedsOf({ feeds }: GoldenRun, inputNames: readonly string[]): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(feeds).filter(([name]) => inputNames.includes(name)));
}

/** Golden weights on disk for all components that the outputs read, removed with the running test. */
export async function goldenCheckpoints(outputs: Readonly<Record<string, Value>>): Promise<Record<string, Checkpoint>> {
  const folder = await temporaryFolder();
  const checkpoints: Record<string, Checkpoint> = {};
  for (const [component, expected] of parametersOf(Object.values(outputs))) {
    const componentFolder = join(folder, component);
    await mkdir(componentFolder);
    await saveGoldenWeights(join(componentFolder, 'model.safetensors'), expected);
    checkpoints[component] = openCheckpoint(await findComponentWeights(componentFolder), { expected });
  }
  return checkpoints;
}

/** Compares every result with the entry of models.json that it is named after. */
export function expectGoldenResults(
  results: Readonly<Record<string, Tensor>>,
  golden: Readonly<Record<string, GoldenStatistics>>,
  tolerance: number,
): void {
  for (const [name, result] of Object.entries(results)) {
    const entry = golden[name];
    if (!entry) throw new Error(`Cannot compare: models.json has no entry ${name}`);
    expect(result.dims, name).toEqual(entry.shape);
    expectGolden(floats(result), entry, tolerance);
  }
}
