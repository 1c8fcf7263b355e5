import { expect, test } from 'vitest';
import { OnDemand } from '../../../worker/runtime/on-demand.ts';

function counted() {
  const counts = { loaded: 0, disposed: 0 };
  const dispose = async () => {
    counts.disposed++;
  };
  return { counts, dispose };
}

test('something is loaded once when it is asked for twice at once', async () => {
  const { counts, dispose } = counted();
  const onDemand = new OnDemand(async () => ({ id: ++counts.loaded, dispose }));
  expect(counts.loaded).toBe(0);
  const [first, second] = await Promise.all([onDemand.get(), onDemand.get()]);
  expect(first).toBe(second);
  await onDemand.dispose();
  expect(counts).toEqual({ loaded: 1, disposed: 1 });
});

test('something is loaded again when loading failed, and disposing in between does nothing', async () => {
  const { counts, dispose } = counted();
  const onDemand = new OnDemand(async () => {
    if (++counts.loaded === 1) throw new Error('the disk is away');
    return { dispose };
  });
  await expect(onDemand.get()).rejects.toThrow('the disk is away');
  await onDemand.dispose();
  expect(counts.disposed).toBe(0);
  await onDemand.get();
  expect(counts.loaded).toBe(2);
});

test('nothing is disposed of when nothing was asked for', async () => {
  const { counts, dispose } = counted();
  await new OnDemand(async () => ({ dispose })).dispose();
  expect(counts.disposed).toBe(0);
});
