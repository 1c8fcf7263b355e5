import { expect, test } from 'vitest';
import { LessonClock } from '../../../worker/training/lesson-clock.ts';

test('the clock says nothing before the second run, and leaves the first one out', () => {
  const clock = new LessonClock();
  expect(clock.secondsLeft({ steps: 100, looks: 0 })).toBeUndefined();
  clock.ran(1, 60);
  expect(clock.secondsLeft({ steps: 99, looks: 0 })).toBeUndefined();
  clock.ran(4, 8);
  expect(clock.secondsLeft({ steps: 95, looks: 0 })).toBe(190);
});

test('the clock weighs runs by their steps, follows a changed pace and counts what is still to be looked at', () => {
  const clock = new LessonClock();
  for (const seconds of [60, ...Array(40).fill(10)]) clock.ran(5, seconds);
  expect(clock.secondsLeft({ steps: 50, looks: 2 })).toBe(100);
  clock.looked(30);
  expect(clock.secondsLeft({ steps: 50, looks: 2 })).toBe(160);
  for (let i = 0; i < 40; i++) clock.ran(5, 20);
  expect(clock.secondsLeft({ steps: 50, looks: 0 })).toBe(200);
});
