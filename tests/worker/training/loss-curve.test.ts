import sharp from 'sharp';
import { expect, test } from 'vitest';
import type { StepRecord } from '../../../worker/training/lesson-journal.ts';
import { lossCurve, smooth, smoothingSpan } from '../../../worker/training/loss-curve.ts';

const stepRecord = (step: number, loss: number): StepRecord => ({
  kind: 'step',
  step,
  loss,
  learningRate: 1e-4,
  gradNorm: 1,
  seconds: 1,
});

/** Points of a polyline, in the order of the document: the faint line of all steps, then the smoothed one. */
function polylines(svg: string): { x: number; y: number }[][] {
  return [...svg.matchAll(/<polyline points="([^"]*)"/g)].map(([, points]) =>
    points!.split(' ').map((point) => {
      const [x, y] = point.split(',').map(Number);
      return { x: x!, y: y! };
    }),
  );
}

test('smoothing keeps a constant, and forgets what came a span before by e', () => {
  for (const value of smooth(Array(30).fill(3), 10)) expect(value).toBeCloseTo(3, 12);
  const pulse = smooth([1, ...Array(400).fill(0)], 20);
  expect(pulse[0]).toBeCloseTo(1, 12);
  expect(pulse[300]! / pulse[280]!).toBeCloseTo(1 / Math.E, 6);
});

test('smoothing takes the mean of its start, not the zeros before it', () => {
  const noisy = Array.from({ length: 200 }, (_, i) => 5 + (i % 2 === 0 ? 1 : -1));
  expect(Math.abs(smooth(noisy, 50)[50]! - 5)).toBeLessThan(0.05);
});

test.each([
  [100, 10],
  [800, 40],
  [15_000, 100],
])('a lesson of %d steps is smoothed over %d', (steps, span) => {
  expect(smoothingSpan(steps)).toBe(span);
});

test('the curve falls with the loss, reaches as far as the lesson has come, and does not bow to one bad step', () => {
  const records = Array.from({ length: 400 }, (_, i) => stepRecord(i + 1, i === 200 ? 1e6 : Math.exp(-i / 100)));
  const svg = lossCurve(records, { maxTrainSteps: 800, sampleSteps: [100, 200] });
  const [raw, smoothed] = polylines(svg) as [{ x: number; y: number }[], { x: number; y: number }[]];
  expect(svg).toContain('after 400 of 800 steps');
  // y grows downwards; the outlier may not push the others into the lowest pixels.
  expect(raw[10]!.y).toBeLessThan(raw[150]!.y - 100);
  expect(raw.at(-1)!.x).toBeCloseTo(64 + 640 / 2, 0);
  expect(smoothed).toHaveLength(raw.length);
  expect(svg.match(/stroke="#c2410c"/g)).toHaveLength(2);
});

test('the curve of a long lesson stays small, and renders', async () => {
  const records = Array.from({ length: 15_000 }, (_, i) => stepRecord(i + 1, 0.1 + 0.01 * Math.sin(i)));
  const svg = lossCurve(records, { maxTrainSteps: 15_000 });
  expect(svg.length).toBeLessThan(30_000);
  const { data, info } = await sharp(Buffer.from(svg)).raw().toBuffer({ resolveWithObject: true });
  expect([info.width, info.height]).toEqual([720, 320]);
  expect(data.some((byte) => byte < 100)).toBe(true);
});

test('the curve of a lesson that has not begun is a frame', () => {
  expect(lossCurve([], { maxTrainSteps: 10 })).toContain('no step of 10 yet');
});
