import { expect, test } from 'vitest';
import { type Dim, multiplyDims, symbol } from '../../../worker/graph/dim.ts';
import { type LowerRules, lowerGraph } from '../../../worker/graph/lowering.ts';
import { constant, conv, input, resizeNearest } from '../../../worker/graph/operators.ts';
import { portableRules } from '../../../worker/graph/portable-rules.ts';
import { isDoubled, upsamplingConv } from '../../../worker/graph/upsampling-conv.ts';
import { goldenTensor } from '../../support/golden.ts';
import { convolutionError, lowerAndRun } from '../../support/lower-and-run.ts';
import { goldenInput } from '../../support/tiny-models.ts';

const SAME = { strides: [1, 1], pads: [1, 1, 1, 1] } as const;

const rules: LowerRules = {
  ...portableRules,
  Conv: (lowering, value) => {
    const [x, weight, bias] = value.inputs;
    return isDoubled(lowering, x)
      ? upsamplingConv(lowering, x, { weight, bias, attributes: value.attributes })
      : portableRules.Conv(lowering, value);
  },
};

function layer(shape: readonly Dim[], size: readonly [Dim, Dim], weight: Float32Array) {
  const x = input('x', { shape, dtype: 'float32' });
  return conv(resizeNearest(x, ...size), constant([...weight], [4, 3, 3, 3], 'float32'), undefined, SAME);
}

test('convolution of a doubled picture matches float64 with sizes fixed and known only at run time', async () => {
  const dims = [2, 3, 5, 4];
  const weight = goldenTensor('weight', [4, 3, 3, 3]);
  const source = goldenTensor('in:x', dims);
  const doubled = Float32Array.from({ length: 2 * 3 * 10 * 8 }, (_, i) => {
    const [plane, y, x] = [Math.floor(i / 80), Math.floor(i / 8) % 10, i % 8];
    return source[plane * 20 + (y >> 1) * 4 + (x >> 1)]!;
  });
  const [height, width] = [symbol('height'), symbol('width')];
  for (const [shape, size] of [
    [dims, [10, 8]],
    [
      [symbol('batch'), 3, height, width],
      [multiplyDims(2, height), multiplyDims(2, width)],
    ],
  ] as const) {
    const result = await lowerAndRun(layer(shape, size, weight), rules, { x: goldenInput('x', dims) });
    expect(result.dims).toEqual([2, 4, 10, 8]);
    const picture = { dims: [2, 3, 10, 8], data: doubled };
    expect(convolutionError(result, { picture, weight, count: Number.POSITIVE_INFINITY })).toBeLessThan(1e-6);
  }
});

test('picture that grows to less than twice its size is resized first', () => {
  const findParameter = () => ({ dtype: 'F32', file: '/weights', offset: 0, sizeBytes: 0 }) as const;
  const { nodes } = lowerGraph({ out: layer([1, 3, 5, 4], [9, 8], new Float32Array(108)) }, rules, { findParameter });
  expect(nodes.map((node) => node.opType)).toContain('Resize');
});
