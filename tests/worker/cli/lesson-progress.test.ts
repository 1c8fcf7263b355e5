import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { describeDuration, LessonProgressLine } from '../../../worker/cli/lesson-progress.ts';
import type { StepsEvent } from '../../../worker/pipelines/watched-lesson.ts';

const event = (step: number): StepsEvent => ({
  kind: 'steps',
  step,
  maxTrainSteps: 100,
  learningRate: 1e-4,
  reports: [],
  secondsPerStep: 2.1,
  averageLoss: 0.14234,
  secondsLeft: step === 1 ? undefined : 780,
});

function screen({ isTTY }: { isTTY: boolean }) {
  const stream = Object.assign(new PassThrough(), { isTTY, columns: 200 });
  const progress = new LessonProgressLine(stream);
  return { progress, text: () => String(stream.read() ?? '') };
}

test('a lesson prints a plain line at first and at the end where there is no terminal', () => {
  const { progress, text } = screen({ isTTY: false });
  for (const step of [1, 2, 3, 100]) progress.update(event(step));
  progress.stop();
  expect(text()).toBe(
    'Step 1 of 100 | loss 0.1423 | rate 1.0e-4 | 2.10 s per step | measuring the pace\n' +
      'Step 100 of 100 | loss 0.1423 | rate 1.0e-4 | 2.10 s per step | 13 min left\n',
  );
});

test('a lesson moves one line on a terminal, and messages stand above it', () => {
  const { progress, text } = screen({ isTTY: true });
  progress.update(event(2));
  progress.message('A sample picture');
  progress.update(event(3));
  progress.stop();
  const [before, after] = text().split('A sample picture\n');
  for (const [part, step] of [
    [before, 2],
    [after, 3],
  ] as const) {
    expect(part).toContain(`${step}/100 | loss 0.1423 | rate 1.0e-4 | 2.10 s per step | 13 min left`);
  }
});

test.each([
  [0.4, '0 s'],
  [99, '99 s'],
  [100, '2 min'],
  [5900, '98 min'],
  [7500, '2 h 05 min'],
])('%d seconds are "%s"', (seconds, words) => {
  expect(describeDuration(seconds)).toBe(words);
});
