import { expect, onTestFinished, test } from 'vitest';
import { parseClipTextConfig } from '../../../worker/networks/clip.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { RandomGenerator } from '../../../worker/runtime/random.ts';
import { freshWeights } from '../../../worker/training/fresh-weights.ts';
import { tokenInputNames } from '../../../worker/training/lessons.ts';
import { type Example, stepFeeds } from '../../../worker/training/samples.ts';
import { textToImageLesson } from '../../../worker/training/text-to-image-lesson.ts';
import { initialState, Trainer, trainedTensors } from '../../../worker/training/trainer.ts';

const TOKENS = 4;
const SHAPE = [2, 4, 4] as const;
const UNET = parseUnetConfig({
  in_channels: 2,
  out_channels: 2,
  block_out_channels: [16, 16],
  down_block_types: ['CrossAttnDownBlock2D', 'DownBlock2D'],
  up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D'],
  layers_per_block: 1,
  norm_num_groups: 4,
  attention_head_dim: 2,
  cross_attention_dim: 8,
});
const CLIP = parseClipTextConfig({
  hidden_size: 8,
  intermediate_size: 16,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  vocab_size: 6,
  max_position_embeddings: TOKENS,
});

/** Four plain pictures of two colours each, every one with a word of its own. */
const instances = [0, 1, 2, 3].map((word): Example => {
  const latents = Float32Array.from({ length: 32 }, (_, i) => ((word >> Math.floor(i / 16)) & 1 ? 1 : -1));
  const inputIds = { dims: [TOKENS], data: BigInt64Array.of(4n, BigInt(word), 5n, 5n) };
  return { latents, conditions: { [tokenInputNames.inputIds]: inputIds } };
});
const samples = {
  seed: 2,
  instances,
  classes: [],
  target: 'v_prediction',
  trainBatchSize: 8,
  priorLossWeight: 0,
  latentShape: SHAPE,
  alphasCumprod: Float64Array.from({ length: 1000 }, (_, t) => Math.cos((Math.PI * (t + 0.5)) / 2002) ** 2),
} as const;

test('UNet and text encoder lower their loss together, to under 60 % of the start on 4 pictures', async () => {
  const options = { batch: 8, latentSide: 4, tokens: TOKENS, vaeScaleFactor: 8, hasMask: false };
  const lesson = textToImageLesson({ ...options, unet: UNET, target: 'v_prediction' }, CLIP);
  const initial = freshWeights(lesson.trainables, {
    generator: new RandomGenerator(1),
    isZero: (name) => /conv_out/.test(name),
  });
  const adamw = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-2, maxGradNorm: 1 };
  const trainer = await Trainer.create(lesson, adamw, { device: 'cpu', threads: 1, checkpoints: {} });
  onTestFinished(() => trainer.dispose());
  const state = initialState(lesson.trainables, initial);
  const steps = Array.from({ length: 150 }, (_, step) => stepFeeds(step, samples));
  const reports = await trainer.run(state, steps, Array(150).fill(4e-3));
  // A UNet that predicts nothing has the loss of the target's own size, which is 1.
  expect(reports[0]!.loss).toBeCloseTo(1, 0);
  const last = reports.slice(-20).reduce((sum, { loss }) => sum + loss / 20, 0);
  expect(last).toBeLessThan(0.6 * reports[0]!.loss);
  // A word is told from another by what it has learned, and by nothing that fresh weights hold.
  const table = 'text_encoder:text_model.embeddings.token_embedding.weight';
  const moved = (row: number) => {
    const [before, after] = [initial.get(table)!, trainedTensors(lesson.trainables, state).get(table)!];
    return Math.hypot(...after.slice(8 * row, 8 * row + 8).map((value, i) => value - before[8 * row + i]!));
  };
  for (const word of [0, 1, 2, 3]) expect(moved(word)).toBeGreaterThan(0.05);
});
