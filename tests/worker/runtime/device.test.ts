import { expect, test } from 'vitest';
import { chooseDevice } from '../../../worker/runtime/device.ts';

test('the CPU is always there and taken as asked for', async () => {
  expect(await chooseDevice('cpu')).toEqual({ device: 'cpu', reason: 'cpu, as asked for' });
});

test('auto says what it took and why', async () => {
  const { device, reason } = await chooseDevice('auto');
  // A machine with a working CUDA takes it; any other one takes the CPU.
  expect(reason).toMatch(device === 'cuda' ? /^cuda, found by auto$/ : /^cpu, taken by auto: .+/);
});
