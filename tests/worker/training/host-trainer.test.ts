import { expect, onTestFinished, test } from 'vitest';
import { add, input, mul, reduceMean, reshape, sub } from '../../../worker/graph/operators.ts';
import { float32Tensor } from '../../../worker/runtime/session.ts';
import { EMA_NAME, type Trainable } from '../../../worker/training/adamw.ts';
import { createTrainer } from '../../../worker/training/create-trainer.ts';
import { HostTrainer } from '../../../worker/training/host-trainer.ts';
import { initialState, type Lesson, type StepFeeds, Trainer, vectorNames } from '../../../worker/training/trainer.ts';

const ADAMW = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-2, maxGradNorm: 0.5 };
const SESSION = { device: 'cpu', threads: 1, checkpoints: {} } as const;
const WIDTH = 5;
const STEPS = 6;

/** Three vectors learn y = w·x² + v·x + b; the one in the middle at a rate and a decay of its own. */
function describeLesson(): Lesson {
  const vector = (name: string) => input(name, { shape: [WIDTH], dtype: 'float32' });
  const groups = { w: undefined, v: { learningRateScale: 0.3, weightDecay: 0.5 }, b: undefined };
  const trainables = Object.entries(groups).map(([name, group]): Trainable => {
    return { name, shape: [WIDTH], value: vector(name), group };
  });
  const [w, v, b] = trainables.map(({ value }) => value) as [
    Trainable['value'],
    Trainable['value'],
    Trainable['value'],
  ];
  const [x, y] = [vector('x'), vector('y')];
  const difference = sub(add(add(mul(w, mul(x, x)), mul(v, x)), b), y);
  const loss = reshape(reduceMean(mul(difference, difference), [0]), []);
  return { trainables, loss, perStep: [x, y], reported: { difference }, hasEma: true };
}

const wave = (speed: number, step: number) =>
  float32Tensor(
    Float32Array.from({ length: WIDTH }, (_, i) => 2 * Math.sin(speed * step + i + 1)),
    [WIDTH],
  );
const feeds = Array.from({ length: STEPS }, (_, step): StepFeeds => ({ x: wave(0.7, step), y: wave(1.3, step) }));

test('the optimizer on the host takes the steps of the one in the Loop, in place', async () => {
  const lesson = describeLesson();
  const start = () => {
    const values = lesson.trainables.map(({ name }, i) => [name, new Float32Array(WIDTH).fill(0.2 * i)] as const);
    return initialState(lesson.trainables, new Map(values), { hasEma: true });
  };
  const rates = feeds.map((_, i) => 1e-2 / (i + 1));
  const [loop, host] = [await Trainer.create(lesson, ADAMW, SESSION), await HostTrainer.create(lesson, ADAMW, SESSION)];
  onTestFinished(async () => {
    await loop.dispose();
    await host.dispose();
  });
  const [expected, state] = [start(), start()];
  const { ...vectors } = state.vectors;
  const wanted = await loop.run(expected, feeds, rates);
  const reports = [
    ...(await host.run(state, feeds.slice(0, 2), rates)),
    ...(await host.run(state, feeds.slice(2), rates.slice(2))),
  ];
  expect(state.step).toBe(STEPS);
  // Gradients are clipped at first and not at the end, so that both are compared.
  expect(wanted[0]!.gradNorm).toBeGreaterThan(ADAMW.maxGradNorm);
  reports.forEach((report, i) => {
    expect(report.loss).toBeCloseTo(wanted[i]!.loss, 5);
    expect(report.gradNorm).toBeCloseTo(wanted[i]!.gradNorm, 5);
    expect(report.reported['difference']).toHaveLength(WIDTH);
  });
  expect(vectorNames(state)).toContain(EMA_NAME);
  for (const name of vectorNames(state)) {
    expect(state.vectors[name]).toBe(vectors[name]);
    state.vectors[name]!.forEach((value, i) => {
      expect(value, `${name}[${i}]`).toBeCloseTo(expected.vectors[name]![i]!, 6);
    });
  }
});

test('a lesson of few numbers learns in the Loop', async () => {
  const trainer = await createTrainer(describeLesson(), ADAMW, SESSION);
  onTestFinished(() => trainer.dispose());
  expect(trainer).toBeInstanceOf(Trainer);
});
