import { beforeAll, describe, expect, test } from 'vitest';
import { multiplyDims, symbol } from '../../../worker/graph/dim.ts';
import { constant, input, mul, sub } from '../../../worker/graph/operators.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import type { Value } from '../../../worker/graph/value.ts';
import {
  clipTextEncoder,
  finalLayerNorm,
  parseClipTextConfig,
  pooledText,
  projectText,
} from '../../../worker/networks/clip.ts';
import { controlnet, parseControlnetConfig } from '../../../worker/networks/controlnet.ts';
import { sinusoid } from '../../../worker/networks/embeddings.ts';
import { parseSafetyCheckerConfig, safetyImageEmbeds } from '../../../worker/networks/safety-checker.ts';
import { parseT2iAdapterConfig, t2iAdapter } from '../../../worker/networks/t2i-adapter.ts';
import { type UnetInputs, unet } from '../../../worker/networks/unet.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { parseVaeConfig, vaeDecoder, vaeEncoder } from '../../../worker/networks/vae.ts';
import { float32Tensor, int64Tensor, type Tensor } from '../../../worker/runtime/session.ts';
import { expectGolden, type GoldenStatistics, loadGolden } from '../../support/golden.ts';
import { floats, goldenControlImage, goldenInput, runTiny, tinyConfigs } from '../../support/tiny-models.ts';

// diffusers 0.40.0.dev0, transformers 5.18.0, torch 2.13 CPU fp32; weights and inputs from the golden generator.
const TOLERANCE = 1e-4;
let golden: Record<string, GoldenStatistics>;
beforeAll(async () => {
  golden = await loadGolden('models.json');
});

function expectEntry(name: string, actual: Tensor | undefined): void {
  const entry = golden[name];
  if (!entry) throw new Error(`Cannot compare: models.json has no entry ${name}`);
  expect(actual?.dims).toEqual(entry.shape);
  expectGolden(floats(actual), entry, TOLERANCE);
}

const scope = (name: string) => new Scope({ name, dtype: 'float32' });
const [batch, height, width] = [symbol('batch'), symbol('height'), symbol('width')];
const image = (name: string, channels: number, factor: number): Value =>
  input(name, {
    shape: [batch, channels, multiplyDims(factor, height), multiplyDims(factor, width)],
    dtype: 'float32',
  });
const vector = (name: string, ...shape: number[]): Value => input(name, { shape: [batch, ...shape], dtype: 'float32' });

const ids = [118, 5, 17, 99, 3, 64, ...Array<number>(71).fill(119)];
const ids2 = [118, 5, 17, 99, 3, 64, 119, ...Array<number>(70).fill(0)];

async function runClip(name: 'clip-quickgelu' | 'clip-gelu' | 'clip-proj', inputIds: number[], eosPosition: number) {
  const config = parseClipTextConfig(tinyConfigs[name]);
  const encoder = scope('text_encoder');
  const { hiddenStates, lastHiddenState } = clipTextEncoder(encoder, config, {
    inputIds: input('ids', { shape: [batch, 77], dtype: 'int64' }),
  });
  const pooled = pooledText(lastHiddenState, input('eos', { shape: [batch], dtype: 'int64' }));
  const penultimate = hiddenStates.at(-2)!;
  const normalized = finalLayerNorm(encoder, config, penultimate);
  const projected =
    config.projectionDim === undefined ? {} : { textEmbeds: projectText(encoder, config.projectionDim, pooled) };
  return runTiny(
    { lastHiddenState, pooled, penultimate, normalized, ...projected },
    { ids: int64Tensor(inputIds, [1, 77]), eos: int64Tensor([eosPosition], [1]) },
  );
}

describe('CLIP text encoder matches transformers', () => {
  test('with quick_gelu', async () => {
    // The legacy rule pools at the largest id, which is the first 119.
    const { lastHiddenState, pooled, penultimate, normalized } = await runClip('clip-quickgelu', ids, ids.indexOf(119));
    expectEntry('clip-quickgelu.last_hidden_state', lastHiddenState);
    expectEntry('clip-quickgelu.pooled', pooled);
    expectEntry('clip-quickgelu.hidden_states[-2]', penultimate);
    expectEntry('clip-quickgelu.final_ln(hidden_states[-2])', normalized);
  });

  test('with exact gelu', async () => {
    const { lastHiddenState } = await runClip('clip-gelu', ids, ids.indexOf(119));
    expectEntry('clip-gelu.last_hidden_state', lastHiddenState);
  });

  test('with projection, and beside the other encoder as SDXL does it', async () => {
    const first = await runClip('clip-quickgelu', ids, ids.indexOf(119));
    const second = await runClip('clip-proj', ids2, ids2.indexOf(119));
    expectEntry('clip-proj.text_embeds (pad=0 after eos)', second['textEmbeds']);
    expectEntry('clip-proj.hidden_states[-2]', second['penultimate']);
    const [a, b] = [floats(first['penultimate']), floats(second['penultimate'])];
    const joined = new Float32Array(77 * 28);
    for (let i = 0; i < 77; i++) {
      joined.set(a.subarray(i * 12, i * 12 + 12), i * 28);
      joined.set(b.subarray(i * 16, i * 16 + 16), i * 28 + 12);
    }
    expectEntry('sdxl.prompt_embeds', float32Tensor(joined, [1, 77, 28]));
  });
});

const sampleFeeds = {
  sample: goldenInput('sample', [2, 4, 8, 8]),
  timestep: float32Tensor(Float32Array.of(3, 701), [2]),
};
const context12 = goldenInput('ctx', [2, 77, 12]);
const context16 = goldenInput('ctx2', [2, 77, 16]);
const xlFeeds = {
  sample: goldenInput('samplexl', [2, 4, 16, 16]),
  timestep: sampleFeeds.timestep,
  context: goldenInput('ctxxl', [2, 77, 28]),
  textEmbeds: goldenInput('pooled', [2, 16]),
  timeIds: float32Tensor(Float32Array.of(128, 128, 0, 0, 128, 128, 64, 96, 4, 8, 128, 128), [2, 6]),
};
const one = float32Tensor(Float32Array.of(1), []);

function unetInputs(inChannels: number, contextDim: number): UnetInputs {
  return {
    sample: image('sample', inChannels, 2),
    timestep: vector('timestep'),
    encoderHiddenStates: vector('context', 77, contextDim),
  };
}

function xlInputs(): UnetInputs {
  return { ...unetInputs(4, 28), textEmbeds: vector('textEmbeds', 16), timeIds: vector('timeIds', 6) };
}

describe('UNet matches diffusers', () => {
  test('timestep embedding', async () => {
    const result = await runTiny({ out: sinusoid(vector('timestep'), 8) }, { timestep: sampleFeeds.timestep });
    expectEntry('timestep_embedding(dim8,t=[3,701],flip)', result['out']);
  });

  test('SD 1', async () => {
    const out = unet(scope('unet'), parseUnetConfig(tinyConfigs['unet-sd1']), unetInputs(4, 12));
    const { out: result } = await runTiny({ out }, { ...sampleFeeds, context: context12 });
    expectEntry('unet-sd1.8x8', result);
  });

  test('SD 1 with sizes that do not halve evenly', async () => {
    const inputs = { ...unetInputs(4, 12), sample: image('sample', 4, 1) };
    const out = unet(scope('unet'), parseUnetConfig(tinyConfigs['unet-sd1']), inputs);
    const { out: result } = await runTiny(
      { out },
      {
        sample: goldenInput('sample_odd', [1, 4, 7, 10]),
        timestep: float32Tensor(Float32Array.of(500), [1]),
        context: float32Tensor(floats(context12).slice(0, 77 * 12), [1, 77, 12]),
      },
    );
    expectEntry('unet-sd1.odd 7x10', result);
  });

  test('SD 2', async () => {
    const out = unet(scope('unet'), parseUnetConfig(tinyConfigs['unet-sd2']), unetInputs(4, 16));
    const { out: result } = await runTiny({ out }, { ...sampleFeeds, context: context16 });
    expectEntry('unet-sd2', result);
  });

  test('SD 2 with masked prompt positions', async () => {
    const mask = vector('mask', 1, 1, 77);
    const encoderAttentionBias = mul(sub(constant([1], [], 'float32'), mask), constant([-10000], [], 'float32'));
    const out = unet(scope('unet'), parseUnetConfig(tinyConfigs['unet-sd2']), {
      ...unetInputs(4, 16),
      encoderAttentionBias,
    });
    const ones = Float32Array.from({ length: 154 }, (_, i) => (i >= 77 + 40 ? 0 : 1));
    const { out: result } = await runTiny(
      { out },
      { ...sampleFeeds, context: context16, mask: float32Tensor(ones, [2, 1, 1, 77]) },
    );
    expectEntry('unet-sd2.mask', result);
  });

  test('inpainting with nine channels', async () => {
    const out = unet(scope('unet'), parseUnetConfig(tinyConfigs['unet-inpaint']), unetInputs(9, 16));
    const { out: result } = await runTiny(
      { out },
      {
        sample: goldenInput('sample9', [1, 9, 8, 8]),
        timestep: float32Tensor(Float32Array.of(701), [1]),
        context: goldenInput('ctx2', [1, 77, 16]),
      },
    );
    expectEntry('unet-inpaint', result);
  });

  test('LCM with a guidance embedding', async () => {
    const inputs = { ...unetInputs(4, 16), timestepCond: vector('timestepCond', 6) };
    const out = unet(scope('unet'), parseUnetConfig(tinyConfigs['unet-lcm']), inputs);
    const { out: result } = await runTiny(
      { out },
      { ...sampleFeeds, context: context16, timestepCond: goldenInput('w', [2, 6]) },
    );
    expectEntry('unet-lcm', result);
  });

  test('SDXL', async () => {
    const out = unet(scope('unet'), parseUnetConfig(tinyConfigs['unet-xl']), xlInputs());
    const { out: result } = await runTiny({ out }, xlFeeds);
    expectEntry('unet-xl', result);
  });
});

const scale = () => input('scale', { shape: [], dtype: 'float32' });
const cond = goldenControlImage('cond', [2, 3, 64, 64]);
const condXl = goldenControlImage('condxl', [2, 3, 128, 128]);

function sd1Controlnet(isGuessMode: boolean) {
  const config = parseControlnetConfig(tinyConfigs['controlnet-sd1']);
  const inputs = { ...unetInputs(4, 12), controlImage: image('cond', 3, 16), conditioningScale: scale() };
  return controlnet(scope('controlnet'), config, { ...inputs, isGuessMode });
}

function features(name: 't2i-full' | 't2i-light' | 't2i-full-xl', factor: number) {
  const inputs = { image: image('cond', 3, factor), conditioningScale: scale() };
  return t2iAdapter(scope('adapter'), parseT2iAdapterConfig(tinyConfigs[name]), inputs);
}

describe('ControlNet matches diffusers', () => {
  const feeds = { ...sampleFeeds, context: context12, cond };

  test('residuals', async () => {
    const { downBlockResiduals: down, midBlockResidual: mid } = sd1Controlnet(false);
    const outputs = { down0: down[0]!, down3: down[3]!, down11: down[11]!, mid };
    const result = await runTiny(outputs, { ...feeds, scale: float32Tensor(Float32Array.of(0.7), []) });
    expect(down).toHaveLength(12);
    expectEntry('controlnet-sd1.down[0] scale .7', result['down0']);
    expectEntry('controlnet-sd1.down[3] scale .7', result['down3']);
    expectEntry('controlnet-sd1.down[11] scale .7', result['down11']);
    expectEntry('controlnet-sd1.mid scale .7', result['mid']);
  });

  test('residuals in guess mode', async () => {
    const { downBlockResiduals: down, midBlockResidual: mid } = sd1Controlnet(true);
    const result = await runTiny({ down0: down[0]!, mid }, { ...feeds, scale: one });
    expectEntry('controlnet-sd1.guess.down[0]', result['down0']);
    expectEntry('controlnet-sd1.guess.mid', result['mid']);
  });

  test('in the graph of the SD 1 UNet', async () => {
    const config = parseUnetConfig(tinyConfigs['unet-sd1']);
    const out = unet(scope('unet'), config, unetInputs(4, 12), { controlnet: sd1Controlnet(false) });
    const result = await runTiny({ out }, { ...feeds, scale: float32Tensor(Float32Array.of(0.7), []) });
    expectEntry('unet-sd1+controlnet', result['out']);
  });

  test('in the graph of the SDXL UNet', async () => {
    const inputs = {
      ...xlInputs(),
      controlImage: image('cond', 3, 16),
      conditioningScale: scale(),
      isGuessMode: false,
    };
    const residuals = controlnet(scope('controlnet'), parseControlnetConfig(tinyConfigs['controlnet-xl']), inputs);
    const out = unet(scope('unet'), parseUnetConfig(tinyConfigs['unet-xl']), xlInputs(), { controlnet: residuals });
    const result = await runTiny({ out }, { ...xlFeeds, cond: condXl, scale: one });
    expectEntry('unet-xl+controlnet', result['out']);
  });
});

describe('T2I-Adapter matches diffusers', () => {
  test.each([
    ['t2i-full', cond],
    ['t2i-light', cond],
    ['t2i-full-xl', condXl],
  ] as const)('features of %s', async (name, map) => {
    const outputs = Object.fromEntries(features(name, 16).map((feature, i) => [`feature${i}`, feature]));
    const result = await runTiny(outputs, { cond: map, scale: one });
    for (let i = 0; i < 4; i++) expectEntry(`${name}.feature[${i}]`, result[`feature${i}`]);
  });

  test.each(['t2i-full', 't2i-light'] as const)('%s in the graph of the SD 1 UNet', async (name) => {
    const config = parseUnetConfig(tinyConfigs['unet-sd1']);
    const out = unet(scope('unet'), config, unetInputs(4, 12), { adapterFeatures: features(name, 16) });
    const result = await runTiny({ out }, { ...sampleFeeds, context: context12, cond, scale: one });
    expectEntry(`unet-sd1+${name}`, result['out']);
  });

  test('together with a ControlNet', async () => {
    const config = parseUnetConfig(tinyConfigs['unet-sd1']);
    const controlnetInputs = {
      ...unetInputs(4, 12),
      controlImage: image('cond', 3, 16),
      conditioningScale: input('controlScale', { shape: [], dtype: 'float32' }),
      isGuessMode: false,
    };
    const out = unet(scope('unet'), config, unetInputs(4, 12), {
      adapterFeatures: features('t2i-full', 16),
      controlnet: controlnet(
        scope('controlnet'),
        parseControlnetConfig(tinyConfigs['controlnet-sd1']),
        controlnetInputs,
      ),
    });
    const controlScale = float32Tensor(Float32Array.of(0.7), []);
    const result = await runTiny({ out }, { ...sampleFeeds, context: context12, cond, scale: one, controlScale });
    expectEntry('unet-sd1+t2i-full+controlnet', result['out']);
  });

  test('in the graph of the SDXL UNet', async () => {
    const config = parseUnetConfig(tinyConfigs['unet-xl']);
    const out = unet(scope('unet'), config, xlInputs(), { adapterFeatures: features('t2i-full-xl', 16) });
    const result = await runTiny({ out }, { ...xlFeeds, cond: condXl, scale: one });
    expectEntry('unet-xl+t2i', result['out']);
  });
});

describe('VAE matches diffusers', () => {
  const config = parseVaeConfig(tinyConfigs.vae);

  test('encoder', async () => {
    const pixels = goldenInput('img', [1, 3, 64, 64]);
    const signed = float32Tensor(
      floats(pixels).map((value) => value / Math.sqrt(3)),
      pixels.dims,
    );
    const { moments } = await runTiny(
      { moments: vaeEncoder(scope('vae'), config, image('image', 3, 8)) },
      { image: signed },
    );
    const data = floats(moments);
    expectEntry('vae.mean', float32Tensor(data.slice(0, 256), [1, 4, 8, 8]));
    expectEntry('vae.logvar', float32Tensor(data.slice(256), [1, 4, 8, 8]));
  });

  test('decoder', async () => {
    const { decoded } = await runTiny(
      { decoded: vaeDecoder(scope('vae'), config, image('latents', 4, 1)) },
      { latents: goldenInput('lat', [1, 4, 8, 8]) },
    );
    expectEntry('vae.decode', decoded);
  });
});

test('safety checker embedding matches transformers', async () => {
  const pixels = vector('pixels', 3, 28, 28);
  const embeds = safetyImageEmbeds(scope('safety_checker'), parseSafetyCheckerConfig(tinyConfigs.safety), pixels);
  const result = await runTiny({ embeds }, { pixels: goldenInput('pix', [2, 3, 28, 28]) });
  expectEntry('safety.image_embeds', result['embeds']);
});
