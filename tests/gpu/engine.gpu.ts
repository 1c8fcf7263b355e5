/** Runs the networks on CUDA, with no node left on the CPU. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { parametersOf, type Value } from '../../worker/graph/value.ts';
import { type Checkpoint, openCheckpoint } from '../../worker/runtime/checkpoint.ts';
import { type CompileOptions, compile } from '../../worker/runtime/compile.ts';
import { saveSafetensors } from '../../worker/runtime/safetensors.ts';
import { float32Tensor, type Session } from '../../worker/runtime/session.ts';
import { findComponentWeights } from '../../worker/runtime/weight-files.ts';
import { type GoldenStatistics, goldenTensor, loadGolden } from '../support/golden.ts';
import { expectGoldenResults, feedsOf, goldenCheckpoints, goldenRuns } from '../support/golden-networks.ts';
import { publishedUnet, trainedSizes } from '../support/published-networks.ts';
import { floats, goldenInput, temporaryFolder } from '../support/tiny-models.ts';

let golden: Record<string, GoldenStatistics>;
beforeAll(async () => {
  golden = await loadGolden('models.json');
});

async function compileOnCuda(
  outputs: Readonly<Record<string, Value>>,
  options: Pick<CompileOptions, 'checkpoints' | 'symbols'>,
): Promise<Session> {
  const session = await compile(outputs, { device: 'cuda', forbidCpuFallback: true, ...options });
  onTestFinished(() => session.dispose());
  return session;
}

// float32 sums in another order than the golden numbers; float16 has 11 bits of mantissa and some fifty layers.
describe.each([
  ['float32', 1e-3],
  ['float16', 5e-2],
] as const)('golden networks on CUDA in %s match diffusers and transformers', (dtype, tolerance) => {
  test.each(Object.entries(goldenRuns))('in the %s', async (_, run) => {
    const outputs = run.describe(dtype);
    const checkpoints = await goldenCheckpoints(outputs);
    const session = await compileOnCuda(outputs, { checkpoints, symbols: run.symbols });
    expectGoldenResults(await session.run(feedsOf(run, session.inputNames)), golden, tolerance);
  });
});

/** Golden weights in float16, written tensor by tensor: a full-size UNet has 860 million values. */
async function fullSizeCheckpoints(outputs: Readonly<Record<string, Value>>): Promise<Record<string, Checkpoint>> {
  const folder = await temporaryFolder();
  const checkpoints: Record<string, Checkpoint> = {};
  for (const [component, expected] of parametersOf(Object.values(outputs))) {
    const tensors = [...expected].map(
      ([name, shape]) => [name, { dtype: 'F16', shape, values: () => goldenTensor(name, shape) }] as const,
    );
    await mkdir(join(folder, component));
    await saveSafetensors(join(folder, component, 'model.safetensors'), tensors);
    checkpoints[component] = openCheckpoint(await findComponentWeights(join(folder, component)), { expected });
  }
  return checkpoints;
}

test('a step of a full-size SD 1.5 UNet in float16 agrees with float32', async () => {
  const symbols = trainedSizes['SD 1.5'];
  const checkpoints = await fullSizeCheckpoints(publishedUnet('SD 1.5'));
  const feeds = {
    sample: goldenInput('sample', [2, 4, 64, 64]),
    timestep: float32Tensor(Float32Array.of(981, 981), [2]),
    context: goldenInput('ctx', [2, 77, 768]),
  };
  const predictions: Float32Array[] = [];
  for (const dtype of ['float32', 'float16'] as const) {
    const session = await compileOnCuda(publishedUnet('SD 1.5', { dtype }), { checkpoints, symbols });
    predictions.push(floats((await session.run(feeds))['noisePred']));
  }
  const [expected, actual] = predictions as [Float32Array, Float32Array];
  const rms = (values: Float32Array) =>
    Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  const error = rms(actual.map((value, i) => value - expected[i]!));
  expect(expected).toHaveLength(2 * 4 * 64 * 64);
  // Written so that NaN fails.
  expect(error / rms(expected)).toBeLessThan(3e-2);
});
