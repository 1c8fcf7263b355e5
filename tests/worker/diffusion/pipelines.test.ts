import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { ControlFeed } from '../../../worker/diffusion/denoise.ts';
import type { PromptEmbeds } from '../../../worker/diffusion/prompt-encoder.ts';
import { type SampleRequest, sampleLatents } from '../../../worker/diffusion/sample-latents.ts';
import { parseSchedulerConfig } from '../../../worker/diffusion/schedulers/scheduler-config.ts';
import { VaeCodec } from '../../../worker/diffusion/vae-codec.ts';
import { symbol } from '../../../worker/graph/dim.ts';
import { input } from '../../../worker/graph/operators.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import { clipTextEncoder, parseClipTextConfig, pooledText, projectText } from '../../../worker/networks/clip.ts';
import { parseControlnetConfig } from '../../../worker/networks/controlnet.ts';
import { type DenoiserOptions, describeDenoiser } from '../../../worker/networks/denoiser.ts';
import { vaeClass } from '../../../worker/networks/network-classes.ts';
import { parseT2iAdapterConfig } from '../../../worker/networks/t2i-adapter.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { parseVaeConfig } from '../../../worker/networks/vae.ts';
import { float32Tensor, int64Tensor, type Tensor } from '../../../worker/runtime/session.ts';
import { expectGolden, type GoldenStatistics, goldenTensor, loadGolden } from '../../support/golden.ts';
import {
  compileTiny,
  floats,
  goldenCheckpoint,
  goldenControlImage,
  goldenInput,
  runTiny,
  tinyConfigs,
} from '../../support/tiny-models.ts';

// diffusers 0.40.0.dev0, torch 2.13 CPU fp32; guidance of 7.5 on random networks amplifies every rounding.
const TOLERANCE = 1e-3;
let golden: Record<string, GoldenStatistics>;
beforeAll(async () => {
  golden = await loadGolden('pipelines.json');
});

const SD_BETAS = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear', num_train_timesteps: 1000 };
const DDIM = parseSchedulerConfig({
  _class_name: 'DDIMScheduler',
  ...SD_BETAS,
  clip_sample: false,
  set_alpha_to_one: false,
  steps_offset: 1,
});
const EULER = parseSchedulerConfig({
  _class_name: 'EulerDiscreteScheduler',
  ...SD_BETAS,
  timestep_spacing: 'leading',
  steps_offset: 1,
});

const IDS = [118, 5, 17, 99, 3, 64, ...Array<number>(71).fill(119)];
const UNCONDITIONAL = [118, ...Array<number>(76).fill(119)];
const IDS2 = [118, 5, 17, 99, 3, 64, 119, ...Array<number>(70).fill(0)];

async function encodeTiny(name: 'clip-quickgelu' | 'clip-gelu' | 'clip-proj', ids: number[]) {
  const config = parseClipTextConfig(tinyConfigs[name]);
  const scope = new Scope({ name: 'text_encoder', dtype: 'float32' });
  const inputIds = input('ids', { shape: [symbol('batch'), 77], dtype: 'int64' });
  const { lastHiddenState, hiddenStates } = clipTextEncoder(scope, config, { inputIds });
  const eos = input('eos', { shape: [symbol('batch')], dtype: 'int64' });
  const pooled = pooledText(lastHiddenState, eos);
  const text = config.projectionDim === undefined ? pooled : projectText(scope, config.projectionDim, pooled);
  const feeds = { ids: int64Tensor(ids, [1, 77]), eos: int64Tensor([ids.indexOf(119)], [1]) };
  const result = await runTiny({ last: lastHiddenState, penultimate: hiddenStates.at(-2)!, text }, feeds);
  return { last: result['last']!, penultimate: result['penultimate']!, text: result['text']! };
}

async function sdPrompt(name: 'clip-quickgelu' | 'clip-gelu'): Promise<PromptEmbeds> {
  const [positive, negative] = [await encodeTiny(name, IDS), await encodeTiny(name, UNCONDITIONAL)];
  return {
    promptEmbeds: positive.last,
    negativePromptEmbeds: negative.last,
    textEmbeds: undefined,
    negativeTextEmbeds: undefined,
    truncated: [],
  };
}

async function sdxlPrompt(): Promise<PromptEmbeds> {
  const [first, second] = [await encodeTiny('clip-quickgelu', IDS), await encodeTiny('clip-proj', IDS2)];
  const joined = new Float32Array(77 * 28);
  for (let i = 0; i < 77; i++) {
    joined.set(floats(first.penultimate).subarray(i * 12, i * 12 + 12), i * 28);
    joined.set(floats(second.penultimate).subarray(i * 16, i * 16 + 16), i * 28 + 12);
  }
  return {
    promptEmbeds: float32Tensor(joined, [1, 77, 28]),
    negativePromptEmbeds: float32Tensor(new Float32Array(77 * 28), [1, 77, 28]),
    textEmbeds: second.text,
    negativeTextEmbeds: float32Tensor(new Float32Array(16), [1, 16]),
    truncated: [],
  };
}

/** Draws `in:noise1`, `in:noise2` and so on, and counts. */
function goldenNoise() {
  let draws = 0;
  return { randn: (count: number) => goldenTensor(`in:noise${++draws}`, [count]), draws: () => draws };
}

async function tinyVae(options: { tileSampleSize?: number } = {}): Promise<VaeCodec> {
  const config = parseVaeConfig(tinyConfigs.vae);
  const checkpoint = await goldenCheckpoint(vaeClass.tensorShapes(config));
  const vae = new VaeCodec({ config, checkpoint }, { device: 'cpu', threads: 1, dtype: 'float32', ...options });
  onTestFinished(() => vae.dispose());
  return vae;
}

type Model = Pick<DenoiserOptions, 'controlnets' | 'adapters'> & { unet: keyof typeof tinyConfigs };
type Request = Partial<SampleRequest> & Pick<SampleRequest, 'prompt'>;

/** Runs four steps of DDIM at 64 x 64 with guidance 7.5 unless told otherwise, as the golden runs do. */
async function sample({ unet, ...controls }: Model, request: Request, scheduler = DDIM) {
  const config = parseUnetConfig(tinyConfigs[unet]);
  const isGuided = (request.guidanceScale ?? 7.5) > 1 && config.timeCondProjDim === undefined;
  const { noisePred } = describeDenoiser({
    unet: config,
    ...controls,
    isGuided,
    dtype: 'float32',
    vaeScaleFactor: 8,
    takesLora: false,
  });
  const session = await compileTiny({ noise_pred: noisePred });
  const vae = await tinyVae();
  const noise = goldenNoise();
  const size = { width: 64, height: 64 };
  const defaults = { ...size, numInferenceSteps: 4, guidanceScale: 7.5, randn: noise.randn };
  const loop = sampleLatents({ unet: config, session, vae, scheduler }, { ...defaults, ...request });
  const steps: number[] = [];
  let next = await loop.next();
  for (; !next.done; next = await loop.next()) steps.push(next.value.stepIndex);
  return { latents: next.value, vae, draws: noise.draws(), steps };
}

async function expectSample(entry: string, draws: number, ...args: Parameters<typeof sample>): Promise<void> {
  const result = await sample(...args);
  expectGolden(floats(result.latents), golden[entry]!, TOLERANCE);
  expect(result.draws).toBe(draws);
}

const latents = goldenInput('lat8', [1, 4, 8, 8]);
const xlSize = { width: 128, height: 128, guidanceScale: 5, latents: goldenInput('lat16', [1, 4, 16, 16]) };
const control = (component: string, image: Tensor, options: Partial<ControlFeed> = {}): ControlFeed => ({
  component,
  image,
  conditioningScale: 1,
  controlGuidanceStart: 0,
  controlGuidanceEnd: 1,
  ...options,
});
const cond = goldenControlImage('cond', [1, 3, 64, 64]);
const condB = goldenControlImage('condB', [1, 3, 64, 64]);
const condXl = goldenControlImage('condxl1', [1, 3, 128, 128]);
const sd1Controlnet = { config: parseControlnetConfig(tinyConfigs['controlnet-sd1']), isGuessMode: false };

describe('text to image matches diffusers', () => {
  test('with DDIM, latents and decoded picture', async () => {
    const {
      latents: result,
      vae,
      steps,
    } = await sample({ unet: 'unet-sd1' }, { prompt: await sdPrompt('clip-quickgelu'), latents });
    expect(steps).toEqual([0, 1, 2, 3]);
    expectGolden(floats(result), golden['sd1 ddim4 cfg7.5 latents [noise draws 0]']!, TOLERANCE);
    const image = floats(await vae.decode(result)).map((value) => Math.min(1, Math.max(0, value / 2 + 0.5)));
    expectGolden(image, golden['sd1 ddim4 cfg7.5 image[0,1]']!, TOLERANCE);
  });

  test('with rescaled guidance', async () => {
    const prompt = await sdPrompt('clip-quickgelu');
    await expectSample(
      'sd1 ddim4 cfg7.5 rescale .7 [noise draws 0]',
      0,
      { unet: 'unet-sd1' },
      { prompt, latents, guidanceRescale: 0.7 },
    );
  });

  test('with Euler', async () => {
    const prompt = await sdPrompt('clip-quickgelu');
    await expectSample(
      'sd1 euler4 leading cfg7.5 [noise draws 0]',
      0,
      { unet: 'unet-sd1' },
      { prompt, latents },
      EULER,
    );
  });

  test('with DPM-Solver++ 2M Karras', async () => {
    const prompt = await sdPrompt('clip-quickgelu');
    const request = { prompt, latents, schedulerName: 'dpmpp-2m-karras' } as const;
    await expectSample('sd1 dpm++2m karras4 cfg7.5 [noise draws 0]', 0, { unet: 'unet-sd1' }, request);
  });

  test('with LCM and its guidance embedding', async () => {
    const request = { prompt: await sdPrompt('clip-gelu'), latents, guidanceScale: 8.5, numInferenceSteps: 2 };
    const lcm = parseSchedulerConfig({ _class_name: 'LCMScheduler', ...SD_BETAS });
    await expectSample('lcm(w-embedding) 2 steps g=8.5 [noise draws 1]', 1, { unet: 'unet-lcm' }, request, lcm);
  });

  test('with SDXL', async () => {
    const prompt = await sdxlPrompt();
    await expectSample('sdxl euler4 cfg5 [noise draws 0]', 0, { unet: 'unet-xl' }, { prompt, ...xlSize }, EULER);
  });

  test('with SDXL and sizes of its own for both halves', async () => {
    const sizes = {
      originalSize: { height: 96, width: 128 },
      cropTopLeft: { top: 8, left: 16 },
      negativeOriginalSize: { height: 64, width: 64 },
      negativeTargetSize: { height: 128, width: 128 },
    };
    const request = { prompt: await sdxlPrompt(), ...xlSize, sizes };
    const entry = 'sdxl euler4 cfg5 crops(8,16) orig(96,128) neg orig(64,64) [noise draws 0]';
    await expectSample(entry, 0, { unet: 'unet-xl' }, request, EULER);
  });
});

describe('image to image and inpainting match diffusers', () => {
  // The golden image goes through [0, 1] on its way to [-1, 1].
  const pixels = goldenControlImage('img', [1, 3, 64, 64]);
  const image = float32Tensor(
    floats(pixels).map((value) => 2 * value - 1),
    pixels.dims,
  );
  const hole = Float32Array.from({ length: 64 * 64 }, (_, i) => (i >= 16 * 64 && i < 48 * 64 && i % 64 >= 16 ? 1 : 0));
  const mask = float32Tensor(hole, [1, 1, 64, 64]);

  test('image to image', async () => {
    const request = { prompt: await sdPrompt('clip-quickgelu'), image, strength: 0.6 };
    await expectSample('img2img ddim4 strength .6 [noise draws 2]', 2, { unet: 'unet-sd1' }, request);
  });

  test.each([
    ['1', 1],
    ['.75', 0.75],
  ])('inpainting with four channels at strength %s', async (shown, strength) => {
    const request = { prompt: await sdPrompt('clip-quickgelu'), image, mask, strength };
    await expectSample(`inpaint 4ch ddim4 strength ${shown} [noise draws 3]`, 3, { unet: 'unet-sd1' }, request);
  });

  test('inpainting with nine channels', async () => {
    const request = { prompt: await sdPrompt('clip-gelu'), image, mask };
    await expectSample('inpaint 9ch ddim4 strength 1 [noise draws 2]', 2, { unet: 'unet-inpaint' }, request);
  });
});

describe('controlled generation matches diffusers', () => {
  test.each([
    ['controlnet ddim4 scale .7 [noise draws 0]', { conditioningScale: 0.7 }],
    ['controlnet ddim4 start .25 end .75 [noise draws 0]', { controlGuidanceStart: 0.25, controlGuidanceEnd: 0.75 }],
  ])('%s', async (entry, options) => {
    const controls = [control('controlnet.0', cond, options)];
    const request = { prompt: await sdPrompt('clip-quickgelu'), latents, controls };
    await expectSample(entry, 0, { unet: 'unet-sd1', controlnets: [sd1Controlnet] }, request);
  });

  test('ControlNet in guess mode', async () => {
    const controls = [control('controlnet.0', cond)];
    const request = { prompt: await sdPrompt('clip-quickgelu'), latents, controls, guidanceScale: 3 };
    const model = { unet: 'unet-sd1', controlnets: [{ ...sd1Controlnet, isGuessMode: true }] } as const;
    await expectSample('controlnet ddim4 guess_mode g3 [noise draws 0]', 0, model, request);
  });

  test('two ControlNets', async () => {
    const controls = [
      control('controlnet.0', cond, { conditioningScale: 0.5 }),
      control('controlnet.1', condB, { conditioningScale: 0.25 }),
    ];
    const request = { prompt: await sdPrompt('clip-quickgelu'), latents, controls };
    const model = { unet: 'unet-sd1', controlnets: [sd1Controlnet, sd1Controlnet] } as const;
    await expectSample('multicontrolnet ddim4 scales .5,.25 [noise draws 0]', 0, model, request);
  });

  const fullAdapter = parseT2iAdapterConfig(tinyConfigs['t2i-full']);

  test('T2I-Adapter', async () => {
    const controls = [control('adapter.0', cond, { conditioningScale: 0.8 })];
    const request = { prompt: await sdPrompt('clip-quickgelu'), latents, controls };
    await expectSample('t2i ddim4 scale .8 [noise draws 0]', 0, { unet: 'unet-sd1', adapters: [fullAdapter] }, request);
  });

  test('two T2I-Adapters', async () => {
    const controls = [
      control('adapter.0', cond, { conditioningScale: 0.8 }),
      control('adapter.1', condB, { conditioningScale: 0.4 }),
    ];
    const request = { prompt: await sdPrompt('clip-quickgelu'), latents, controls };
    const model = { unet: 'unet-sd1', adapters: [fullAdapter, fullAdapter] } as const;
    await expectSample('multi-t2i ddim4 scales .8,.4 [noise draws 0]', 0, model, request);
  });

  test('T2I-Adapter of SDXL for half of the steps', async () => {
    const controls = [control('adapter.0', condXl, { conditioningScale: 0.8, controlGuidanceEnd: 0.5 })];
    const request = { prompt: await sdxlPrompt(), ...xlSize, controls };
    const model = { unet: 'unet-xl', adapters: [parseT2iAdapterConfig(tinyConfigs['t2i-full-xl'])] } as const;
    await expectSample('sdxl t2i euler4 scale .8 factor .5 [noise draws 0]', 0, model, request, EULER);
  });

  test('ControlNet of SDXL', async () => {
    const controls = [control('controlnet.0', condXl, { conditioningScale: 0.5 })];
    const request = { prompt: await sdxlPrompt(), ...xlSize, controls };
    const controlnets = [{ config: parseControlnetConfig(tinyConfigs['controlnet-xl']), isGuessMode: false }];
    await expectSample(
      'sdxl controlnet euler4 scale .5 [noise draws 0]',
      0,
      { unet: 'unet-xl', controlnets },
      request,
      EULER,
    );
  });

  test('a scale of 0 gives exactly the picture without control', async () => {
    const prompt = await sdPrompt('clip-quickgelu');
    const free = await sample({ unet: 'unet-sd1' }, { prompt, latents });
    const controls = [
      control('controlnet.0', cond, { conditioningScale: 0 }),
      control('adapter.0', cond, { conditioningScale: 0 }),
    ];
    const model = { unet: 'unet-sd1', controlnets: [sd1Controlnet], adapters: [fullAdapter] } as const;
    const held = await sample(model, { prompt, latents, controls });
    expect(floats(held.latents)).toEqual(floats(free.latents));
  });
});

describe('VAE in tiles matches diffusers', () => {
  let models: Record<string, GoldenStatistics>;
  beforeAll(async () => {
    models = await loadGolden('models.json');
  });

  test('decoding', async () => {
    const vae = await tinyVae({ tileSampleSize: 32 });
    const { scalingFactor } = vae.config;
    // decode divides by the scaling factor, which the golden run does not know of.
    const input = goldenInput('lat', [1, 4, 8, 8]);
    const image = await vae.decode(
      float32Tensor(
        floats(input).map((value) => value * scalingFactor),
        input.dims,
      ),
    );
    expectGolden(floats(image), models['vae.tiled_decode(32/4)']!, 1e-4);
  });

  test('encoding', async () => {
    const vae = await tinyVae({ tileSampleSize: 32 });
    const pixels = goldenInput('img', [1, 3, 64, 64]);
    const signed = floats(pixels).map((value) => value / Math.sqrt(3));
    const moments = floats(await vae.encodeMoments(float32Tensor(signed, pixels.dims)));
    expectGolden(moments.slice(0, 256), models['vae.tiled_encode(32/4).mean']!, 1e-4);
  });

  test('a picture within one tile is decoded whole', async () => {
    const input = goldenInput('lat', [1, 4, 8, 8]);
    const [whole, tiled] = [await tinyVae(), await tinyVae({ tileSampleSize: 64 })];
    expect(floats(await tiled.decode(input))).toEqual(floats(await whole.decode(input)));
  });
});
