import { describe, test } from 'vitest';
import { gradients } from '../../../worker/graph/gradient.ts';
import { cast, constant, greater, input } from '../../../worker/graph/operators.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import type { Value } from '../../../worker/graph/value.ts';
import { clipTextEncoder, parseClipTextConfig } from '../../../worker/networks/clip.ts';
import { unet } from '../../../worker/networks/unet.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { int64Tensor } from '../../../worker/runtime/session.ts';
import { initialState } from '../../../worker/training/trainer.ts';
import { goldenTensor } from '../../support/golden.ts';
import { createTrainer } from '../../support/golden-lessons.ts';
import { batchFeeds, describeLoss, expectClose, golden, near } from '../../support/golden-steps.ts';
import { tinyConfigs } from '../../support/tiny-models.ts';

describe('textual inversion matches torch', () => {
  test('in losses, the new row and its gradient, while no other row moves', async () => {
    const config = parseClipTextConfig(tinyConfigs['clip-quickgelu']);
    const row = input('row', { shape: [1, 12], dtype: 'float32' });
    const trainables = [{ name: 'row', shape: [1, 12], value: row }];
    const batch = { shape: [4, 77], dtype: 'int64' } as const;
    const [inputIds, rows] = [input('ids', batch), input('rows', batch)];
    const isInverted = input('is_inverted', { shape: [4, 77, 1], dtype: 'int64' });
    const textScope = new Scope({ name: 'text_encoder', dtype: 'float32' });
    const inverted = {
      table: row,
      rows,
      isInverted: greater(cast(isInverted, 'float32'), constant([0], [], 'float32')),
    };
    const { lastHiddenState } = clipTextEncoder(textScope, config, { inputIds, inverted });
    const unetConfig = parseUnetConfig(tinyConfigs['unet-sd1']);
    const unetScope = new Scope({ name: 'unet', dtype: 'float32' });
    const predict = (sample: Value, timestep: Value) =>
      unet(unetScope, unetConfig, { sample, timestep, encoderHiddenStates: lastHiddenState });
    const { loss, perStep } = describeLoss(predict);
    const [gradient] = gradients(loss, [row]);
    const lesson = {
      trainables,
      loss,
      perStep: [...perStep, inputIds, rows, isInverted],
      reported: { gradient: gradient! },
    };
    const trainer = await createTrainer(lesson, { maxGradNorm: undefined });
    // The placeholder starts as a copy of row 17 and stands at the third place of each prompt.
    const table = goldenTensor('text_model.embeddings.token_embedding.weight', [120, 12]);
    const state = initialState(trainables, new Map([['row', table.slice(17 * 12, 18 * 12)]]));
    const ids = [118, 5, 0, 99, 3, 64, ...Array<number>(71).fill(119)];
    const places = ids.map((_, i) => (i === 2 ? 1 : 0));
    const four = <T>(values: T[]) => [...values, ...values, ...values, ...values];
    const feeds = {
      ...batchFeeds([0.25, 0.25, 0.25, 0.25]),
      ids: int64Tensor(four(ids), [4, 77]),
      rows: int64Tensor(Array(4 * 77).fill(0), [4, 77]),
      is_inverted: int64Tensor(four(places), [4, 77, 1]),
    };
    const reports = await trainer.run(state, [feeds, feeds], [5e-3, 5e-3]);
    reports.forEach((report, i) => {
      const expected = golden[`ti step${i}`] as { loss: number; grad_row120: number[] };
      near(report.loss, expected.loss);
      expectClose(report.reported['gradient']!.subarray(0, 6), expected.grad_row120, 1e-3);
    });
    expectClose(state.vectors.parameters.subarray(0, 6), golden['ti row120 after 2'] as number[], 1e-3);
  });
});
