import { describe, expect, test } from 'vitest';
import { cpuRules } from '../../../worker/graph/cpu-rules.ts';
import { symbol } from '../../../worker/graph/dim.ts';
import { type LowerRules, lowerGraph } from '../../../worker/graph/lowering.ts';
import { constant, conv, input } from '../../../worker/graph/operators.ts';
import { portableRules } from '../../../worker/graph/portable-rules.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import { winogradConv, winogradMatrices } from '../../../worker/graph/winograd.ts';
import { conv2d } from '../../../worker/networks/layers.ts';
import { goldenTensor } from '../../support/golden.ts';
import { convolutionError, lowerAndRun } from '../../support/lower-and-run.ts';
import { floats, goldenInput, runTiny } from '../../support/tiny-models.ts';

const SAME = { strides: [1, 1], pads: [1, 1, 1, 1] } as const;

/** Every convolution by Winograd, however small. */
const winogradRules: LowerRules = {
  ...portableRules,
  Conv: (lowering, { inputs: [x, weight, bias] }) => winogradConv(lowering, x, { weight, bias }),
};

test('Winograd matrices give the convolution of one tile exactly', () => {
  const { outputTransform, kernelTransform, inputTransform } = winogradMatrices();
  const apply = (matrix: readonly (readonly number[])[], vector: readonly number[]) =>
    matrix.map((row) => row.reduce((sum, value, i) => sum + value * vector[i]!, 0));
  const [tile, kernel] = [
    [3, -1, 4, 1, -5, 9],
    [2, -6, 5],
  ];
  const product = apply(inputTransform, tile!).map((value, i) => value * apply(kernelTransform, kernel!)[i]!);
  const expected = [0, 1, 2, 3].map((i) => kernel!.reduce((sum, value, k) => sum + value * tile![i + k]!, 0));
  apply(outputTransform, product).forEach((value, i) => {
    expect(value).toBeCloseTo(expected[i]!, 10);
  });
});

describe('Winograd convolution matches a float64 convolution', () => {
  test.each([[[2, 5, 8, 12]], [[1, 3, 1, 1]], [[3, 4, 7, 10]], [[1, 6, 5, 2]]])(
    'of %j, with sizes fixed and with sizes known only at run time',
    async (dims) => {
      const [batch, channels] = dims as [number, number];
      const weight = goldenTensor('weight', [7, channels, 3, 3]);
      const picture = { dims, data: goldenTensor('in:x', dims) };
      for (const shape of [dims, [symbol('batch'), channels, symbol('height'), symbol('width')]]) {
        const x = input('x', { shape, dtype: 'float32' });
        const kernels = constant([...weight], [7, channels, 3, 3], 'float32');
        const result = await lowerAndRun(conv(x, kernels, undefined, SAME), winogradRules, {
          x: goldenInput('x', dims),
        });
        expect(result.dims).toEqual([batch, 7, ...dims.slice(2)]);
        expect(convolutionError(result, { picture, weight, count: Number.POSITIVE_INFINITY })).toBeLessThan(2e-5);
      }
    },
  );

  test('with a bias', async () => {
    const dims = [1, 2, 4, 4];
    const bias = [10, 20, 30];
    const [x, kernels] = [
      input('x', { shape: dims, dtype: 'float32' }),
      constant(Array(54).fill(0), [3, 2, 3, 3], 'float32'),
    ];
    const out = conv(x, kernels, constant(bias, [3], 'float32'), SAME);
    const { data } = await lowerAndRun(out, winogradRules, { x: goldenInput('x', dims) });
    expect([...data]).toEqual(bias.flatMap((value) => Array(16).fill(value)));
  });
});

describe('CPU lowering chooses Winograd', () => {
  const layer = (channels: number, size: number) =>
    conv2d(
      new Scope({ name: 'net', dtype: 'float32' }),
      input('x', { shape: [2, channels, size, size + 3], dtype: 'float32' }),
      channels,
    );

  test('for many channels, and is as exact there as for few', async () => {
    const dims = [2, 320, 26, 29];
    const [weight, bias] = [goldenTensor('weight', [320, 320, 3, 3]), goldenTensor('bias', [320])];
    const { out } = await runTiny({ out: layer(320, 26) }, { x: goldenInput('x', dims) });
    const data = floats(out).map((value, i) => value - bias[Math.floor(i / (26 * 29)) % 320]!);
    const picture = { dims, data: goldenTensor('in:x', dims) };
    expect(convolutionError({ dims, data }, { picture, weight, count: 5000 })).toBeLessThan(4e-5);
  });

  test.each([
    ['many channels of a large picture', 320, 32, true],
    ['many channels of a small picture', 1280, 16, false],
    ['few channels', 16, 64, false],
  ])('for %s or not', (_, channels, size, isChosen) => {
    const findParameter = () => ({ dtype: 'F32', file: '/weights', offset: 0, sizeBytes: 0 }) as const;
    const { nodes } = lowerGraph({ out: layer(channels, size) }, cpuRules, { findParameter });
    expect(nodes.some((node) => node.opType === 'DepthToSpace')).toBe(isChosen);
  });
});
