import { describe, expect, test } from 'vitest';
import { type Dim, multiplyDims, symbol } from '../../../worker/graph/dim.ts';
import { input } from '../../../worker/graph/operators.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import { type Dtype, GraphError, type Value } from '../../../worker/graph/value.ts';
import { controlnet, parseControlnetConfig } from '../../../worker/networks/controlnet.ts';
import { type UnetInputs, unet } from '../../../worker/networks/unet.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { parseVaeConfig, vaeDecoder } from '../../../worker/networks/vae.ts';
import { tinyConfigs } from '../../support/tiny-models.ts';

const [n, h, w] = [symbol('n'), symbol('h'), symbol('w')];
const typed =
  (dtype: Dtype) =>
  (...shape: Dim[]): Value =>
    input('x', { shape, dtype });
const [f32, f16] = [typed('float32'), typed('float16')];

test('scope names parameters as the checkpoint does', () => {
  const scope = new Scope({ name: 'unet', dtype: 'float16' });
  const weight = scope.at('down_blocks', 0, 'resnets').at(1).at('conv1').parameter('weight', [4, 3]);
  expect(weight.attributes).toMatchObject({ name: 'down_blocks.0.resnets.1.conv1.weight', component: 'unet' });
  expect(weight.dtype).toBe('float16');
  expect(scope.parameter('class_embedding', [4]).attributes).toMatchObject({ name: 'class_embedding' });
});

test('scope lets other errors through as they are', () => {
  const error = new TypeError('not of the graph');
  const build = () =>
    new Scope({ name: 'unet', dtype: 'float32' }).describe(() => {
      throw error;
    });
  expect(build).toThrow(error);
});

describe('mismatch inside a network is reported where it is', () => {
  const batch = symbol('batch');
  const unetInputs = (replaced: Partial<UnetInputs>): UnetInputs => ({
    sample: input('sample', { shape: [batch, 4, multiplyDims(8, h), multiplyDims(8, w)], dtype: 'float32' }),
    timestep: input('timestep', { shape: [batch], dtype: 'float32' }),
    encoderHiddenStates: input('context', { shape: [batch, 77, 12], dtype: 'float32' }),
    ...replaced,
  });
  const unetWith = (replaced: Partial<UnetInputs>, ...controls: Parameters<typeof unet>[3][]) =>
    unet(
      new Scope({ name: 'unet', dtype: 'float32' }),
      parseUnetConfig(tinyConfigs['unet-sd1']),
      unetInputs(replaced),
      ...controls,
    );

  test.each<[string, () => unknown]>([
    [
      'unet: down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k: needs a known number of features, got [batch, 77, w]',
      () => unetWith({ encoderHiddenStates: f32(batch, 77, w) }),
    ],
    [
      'unet: down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k: ' +
        'cannot apply Linear: needs inputs of one dtype, got float16 and float32',
      () => unetWith({ encoderHiddenStates: f16(batch, 77, 12) }),
    ],
    [
      'unet: down_blocks.0.attentions.0.transformer_blocks.0.attn2: ' +
        'cannot apply Attention: needs key and query to have one batch, got [2, 77, 8]',
      () => unetWith({ encoderHiddenStates: f32(2, 77, 12) }),
    ],
    [
      'unet: down_blocks.0.attentions.0.transformer_blocks.0.attn2: ' +
        'cannot apply Attention: needs bias of 4 axes, got [batch, 77]',
      () => unetWith({ encoderAttentionBias: f32(batch, 77) }),
    ],
    [
      'unet: conv_in: needs a known number of features, got [batch, w, 8, 8]',
      () => unetWith({ sample: f32(batch, w, 8, 8) }),
    ],
    ['unet: conv_in: cannot apply Conv: needs x of 4 axes, got [batch, 4]', () => unetWith({ sample: f32(batch, 4) })],
    [
      'unet: time_embedding.cond_proj: needs a known number of features, got []',
      () => unetWith({ timestepCond: f32() }),
    ],
    [
      'unet: down_blocks.0.resnets.0: cannot apply Add: needs shapes that broadcast, ' +
        'got [batch, 8, 8*h, 8*w] and [n, 8, 1, 1]',
      () => unetWith({ timestep: f32(n) }),
    ],
    [
      'unet: down_blocks.0: needs a T2I-Adapter feature of [8, 8*h, 8*w], got [8, h, w]',
      () => unetWith({}, { adapterFeatures: [f32(batch, 8, h, w)] }),
    ],
    [
      'unet: top level: cannot apply Add: needs shapes that broadcast, ' +
        'got [batch, 8, 8*h, 8*w] and [batch, 9, 8*h, 8*w]',
      () => {
        const residual = f32(batch, 9, multiplyDims(8, h), multiplyDims(8, w));
        return unetWith(
          {},
          { controlnet: { downBlockResiduals: Array(12).fill(residual), midBlockResidual: residual } },
        );
      },
    ],
    [
      'controlnet: top level: cannot apply Add: needs shapes that broadcast, ' +
        'got [batch, 8, 8*h, 8*w] and [1, 8, h, w]',
      () =>
        controlnet(
          new Scope({ name: 'controlnet', dtype: 'float32' }),
          parseControlnetConfig(tinyConfigs['controlnet-sd1']),
          {
            ...unetInputs({}),
            controlImage: f32(1, 3, multiplyDims(8, h), multiplyDims(8, w)),
            conditioningScale: f32(),
            isGuessMode: false,
          },
        ),
    ],
    [
      'vae: post_quant_conv: cannot apply Conv: needs x of 4 axes, got [batch, 4, 64]',
      () =>
        vaeDecoder(new Scope({ name: 'vae', dtype: 'float32' }), parseVaeConfig(tinyConfigs.vae), f32(batch, 4, 64)),
    ],
  ])('%s', (message, build) => {
    expect(build).toThrow(GraphError);
    expect(build).toThrow(expect.objectContaining({ message }));
  });
});
