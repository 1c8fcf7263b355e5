import { describe, expect, test } from 'vitest';
import { constant, input } from '../../../worker/graph/operators.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import type { Value } from '../../../worker/graph/value.ts';
import { controlnet, parseControlnetConfig } from '../../../worker/networks/controlnet.ts';
import { parseT2iAdapterConfig, t2iAdapter } from '../../../worker/networks/t2i-adapter.ts';
import { unet } from '../../../worker/networks/unet.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { elementCount } from '../../../worker/runtime/element-count.ts';
import type { Trainable } from '../../../worker/training/adamw.ts';
import { cubicTimestep } from '../../../worker/training/timesteps.ts';
import { initialState } from '../../../worker/training/trainer.ts';
import { goldenTensor } from '../../support/golden.ts';
import { createTrainer, goldenValues } from '../../support/golden-lessons.ts';
import {
  batchFeeds,
  context,
  contextFeed,
  describeLoss,
  golden,
  learnAll,
  near,
  type StepGolden,
  stepOf,
} from '../../support/golden-steps.ts';
import { goldenControlImage, tinyConfigs } from '../../support/tiny-models.ts';

describe('ControlNet training matches torch', () => {
  test('in losses and gradient norms, with only the zero convolutions moving at first', async () => {
    const { trainables, substitute } = learnAll();
    const config = parseControlnetConfig(tinyConfigs['controlnet-sd1']);
    const scope = new Scope({ name: 'controlnet.0', dtype: 'float32', substitute });
    const controlImage = input('cond', { shape: [4, 3, 64, 64], dtype: 'float32' });
    const unetConfig = parseUnetConfig(tinyConfigs['unet-sd1']);
    const predict = (sample: Value, timestep: Value) => {
      const inputs = { sample, timestep, encoderHiddenStates: context };
      const conditioningScale = constant([1], [], 'float32');
      const residuals = controlnet(scope, config, { ...inputs, controlImage, conditioningScale, isGuessMode: false });
      return unet(new Scope({ name: 'unet', dtype: 'float32' }), unetConfig, inputs, { controlnet: residuals });
    };
    const { loss, perStep } = describeLoss(predict);
    const lesson = { trainables, loss, perStep: [...perStep, context, controlImage], reported: {} };
    const trainer = await createTrainer(lesson);
    const isZero = (name: string) => /^controlnet_(down_blocks|mid_block)|cond_embedding\.conv_out/.test(name);
    const values = new Map(
      trainables.map(({ name, shape }) => [
        name,
        isZero(name) ? new Float32Array(elementCount(shape)) : goldenTensor(name, shape),
      ]),
    );
    const state = initialState(trainables, values);
    const feeds = {
      ...batchFeeds([0.25, 0.25, 0.25, 0.25]),
      ...contextFeed,
      cond: goldenControlImage('train_cond', [4, 3, 64, 64]),
    };
    for (let i = 0; i < 3; i++) {
      const [report] = await trainer.run(state, [feeds], [1e-2]);
      const expected = golden[`controlnet step${i}`] as StepGolden & { modules_with_grad: string[] };
      near(report!.loss, expected.loss);
      near(report!.gradNorm, expected.grad_norm);
      const moved = modulesWithMoments(trainables, state.vectors.second_moments);
      if (i < 2) expect(moved).toEqual(expected.modules_with_grad);
    }
  });
});

describe('T2I-Adapter training matches torch', () => {
  test('in losses and gradient norms over three steps', async () => {
    const { trainables, substitute } = learnAll();
    const config = parseT2iAdapterConfig(tinyConfigs['t2i-full']);
    const scope = new Scope({ name: 'adapter.0', dtype: 'float32', substitute });
    const image = input('cond', { shape: [4, 3, 64, 64], dtype: 'float32' });
    const unetConfig = parseUnetConfig(tinyConfigs['unet-sd1']);
    const predict = (sample: Value, timestep: Value) => {
      const adapterFeatures = t2iAdapter(scope, config, { image, conditioningScale: constant([1], [], 'float32') });
      const inputs = { sample, timestep, encoderHiddenStates: context };
      return unet(new Scope({ name: 'unet', dtype: 'float32' }), unetConfig, inputs, { adapterFeatures });
    };
    const { loss, perStep } = describeLoss(predict);
    const lesson = { trainables, loss, perStep: [...perStep, context, image], reported: {} };
    const trainer = await createTrainer(lesson);
    const state = initialState(trainables, goldenValues(trainables));
    const feeds = {
      ...batchFeeds([0.25, 0.25, 0.25, 0.25]),
      ...contextFeed,
      cond: goldenControlImage('train_cond', [4, 3, 64, 64]),
    };
    const reports = await trainer.run(state, [feeds, feeds, feeds], [1e-3, 1e-3, 1e-3]);
    reports.forEach((report, i) => {
      near(report.loss, stepOf(`t2i step${i}`).loss);
      near(report.gradNorm, stepOf(`t2i step${i}`).grad_norm);
    });
  });

  test('draws timesteps by the cubic rule', () => {
    const expected = golden['cubic t for u=0,.25,.5,.75,.999'] as number[];
    expect([0, 0.25, 0.5, 0.75, 0.999].map((u) => cubicTimestep(u, 1000))).toEqual(expected);
  });
});

/** First words of the names whose second moment is not zero: every tensor that has had a gradient. */
function modulesWithMoments(trainables: readonly Trainable[], moments: Float32Array): string[] {
  const modules = new Set<string>();
  let offset = 0;
  for (const { name, shape } of trainables) {
    const own = moments.subarray(offset, offset + elementCount(shape));
    offset += own.length;
    if (own.some((value) => value !== 0)) modules.add(name.split('.')[0]!);
  }
  return [...modules].sort();
}
