import { expect, onTestFinished, test } from 'vitest';
import { geglu, input } from '../../../worker/graph/operators.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import { parametersOf, type Value } from '../../../worker/graph/value.ts';
import { dense } from '../../../worker/networks/layers.ts';
import { compile, type LoweringName } from '../../../worker/runtime/compile.ts';
import { boolTensor, type Tensor } from '../../../worker/runtime/session.ts';
import { floats, goldenCheckpoint, goldenInput } from '../../support/tiny-models.ts';

async function run(out: Value, lowering: LoweringName, feeds: Readonly<Record<string, Tensor>>): Promise<Float32Array> {
  const checkpoints = { net: await goldenCheckpoint(parametersOf([out]).get('net')!) };
  const session = await compile({ out }, { device: 'cpu', threads: 1, lowering, checkpoints });
  onTestFinished(() => session.dispose());
  return floats((await session.run(feeds))['out']);
}

async function expectSameAsPortable(out: Value, feeds: Readonly<Record<string, Tensor>>): Promise<void> {
  const [cpu, portable] = [await run(out, 'cpu', feeds), await run(out, 'portable', feeds)];
  expect(cpu.length).toBe(portable.length);
  cpu.forEach((value, i) => {
    expect(value).toBeCloseTo(portable[i]!, 5);
  });
}

const x = input('x', { shape: [2, 5, 6], dtype: 'float32' });
const features = { x: goldenInput('x', [2, 5, 6]) };

test.each([true, false])('GEGLU of halves is the split one when hasBias is %s', async (hasBias) => {
  const scope = new Scope({ name: 'net', dtype: 'float32' });
  await expectSameAsPortable(geglu(dense(scope.at('proj'), x, 16, { hasBias })), features);
});

test.each([true, false])('GEGLU of halves takes a low-rank update when enabled is %s', async (isEnabled) => {
  const lora = () => ({
    enabled: input('enabled', { shape: [], dtype: 'bool' }),
    down: input('down', { shape: [3, 6], dtype: 'float32' }),
    up: input('up', { shape: [16, 3], dtype: 'float32' }),
  });
  const scope = new Scope({ name: 'net', dtype: 'float32', lora });
  const factors = { down: goldenInput('down', [3, 6]), up: goldenInput('up', [16, 3]) };
  const feeds = { ...features, ...factors, enabled: boolTensor(isEnabled) };
  await expectSameAsPortable(geglu(dense(scope.at('proj'), x, 16)), feeds);
});
