import { expect, test } from 'vitest';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { fineTuneLesson, type LessonOptions, loraLesson } from '../../../worker/training/lessons.ts';
import { ALL_MODULES, ATTENTION_MODULES, isLoraTarget } from '../../../worker/training/lora-targets.ts';
import { initialState, type Lesson } from '../../../worker/training/trainer.ts';
import { goldenTensor } from '../../support/golden.ts';
import { createTrainer, goldenFeeds, goldenValues } from '../../support/golden-lessons.ts';
import { tinyConfigs } from '../../support/tiny-models.ts';

const OPTIONS: LessonOptions = {
  unet: parseUnetConfig(tinyConfigs['unet-sd1']),
  target: 'epsilon',
  batch: 2,
  latentSide: 8,
  tokens: 77,
  vaeScaleFactor: 8,
  hasMask: false,
};
const RANK = 2;
const ALPHA = 3;

type Weights = ReadonlyMap<string, Float32Array>;

async function firstStep(lesson: Lesson, weights: Weights) {
  const trainer = await createTrainer(lesson);
  const state = initialState(lesson.trainables, weights);
  return (await trainer.run(state, [goldenFeeds(lesson)], [1e-3]))[0]!;
}

/** W + alpha / rank · up · down, counted out. */
function merged(weight: Float32Array, out: number, { down, up }: { down: Float32Array; up: Float32Array }) {
  const inputs = weight.length / out;
  return weight.map((value, i) => {
    const [row, column] = [Math.floor(i / inputs), i % inputs];
    let change = 0;
    for (let k = 0; k < RANK; k++) change += up[row * RANK + k]! * down[k * inputs + column]!;
    return value + (ALPHA / RANK) * change;
  });
}

test('a LoRA of all modules, convolutions among them, predicts what merged weights predict', async () => {
  const settings = { loraRank: RANK, loraAlpha: ALPHA, loraTargetModules: ALL_MODULES };
  const lora = loraLesson(OPTIONS, settings);
  const factors = new Map(
    lora.trainables.map(({ name, shape }) => [name, goldenTensor(name, shape).map((value) => 0.2 * value)]),
  );
  const whole = fineTuneLesson(OPTIONS);
  const weights = whole.trainables.map(({ name, shape }): [string, Float32Array] => {
    const [own, path] = [goldenTensor(name, shape), name.replace(/\.weight$/, '')];
    const [down, up] = [factors.get(`${path}:down`), factors.get(`${path}:up`)];
    return [name, down && up ? merged(own, shape[0]!, { down, up }) : own];
  });
  const plain = goldenValues(whole.trainables);
  const [learned, expected, untaught] = [
    await firstStep(lora, factors),
    await firstStep(whole, new Map(weights)),
    await firstStep(whole, plain),
  ];
  expect(factors.get('mid_block.resnets.0.conv1:down')).toHaveLength(RANK * 16 * 9);
  expect(learned.loss).toBeCloseTo(expected.loss, 4);
  expect(Math.abs(untaught.loss - expected.loss)).toBeGreaterThan(1e-2);
});

test.each([
  ['mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0', ATTENTION_MODULES, true],
  ['text_model.encoder.layers.0.self_attn.q_proj', ATTENTION_MODULES, true],
  ['mid_block.attentions.0.proj_in', ATTENTION_MODULES, false],
  ['mid_block.resnets.0.conv1', ATTENTION_MODULES, false],
  ['mid_block.resnets.0.conv1', 'to_q, conv1', true],
  ['down_blocks.0.resnets.0.xconv1', 'conv1', false],
  ['conv_in', 'conv_in', true],
  ['conv_in', ALL_MODULES, true],
])('%s is a target of "%s": %s', (path, targets, expected) => {
  expect(isLoraTarget(path, targets)).toBe(expected);
});
