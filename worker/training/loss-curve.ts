/** The loss of a lesson as a picture: every step faintly, their moving average on top. */
import type { StepRecord } from './lesson-journal.ts';

export interface LossCurveOptions {
  /** Steps at which the lesson was looked at; marked on the axis. */
  readonly sampleSteps?: readonly number[];
  /** End of the axis: the steps that the lesson is to have. */
  readonly maxTrainSteps: number;
}

const WIDTH = 720;
const HEIGHT = 320;
const MARGIN = { left: 64, right: 16, top: 32, bottom: 40 } as const;
/** More points than pixels only make the file large. */
const MAX_POINTS = 600;
/** Share of the losses, at either end, that may lie outside: a single bad step does not flatten the rest. */
const OUTSIDE = 0.01;

/** Steps over which a lesson's loss is averaged to be shown: a twentieth of the lesson, from 10 to 100. */
export function smoothingSpan(maxTrainSteps: number): number {
  return Math.min(100, Math.max(10, Math.round(maxTrainSteps / 20)));
}

/**
 * Averages exponentially over about `span` values: the weight of a value falls by e after so many more. Corrected for its
 * start as Adam corrects its moments, so the first value is its own average.
 */
export function smooth(values: readonly number[], span: number): number[] {
  const decay = Math.exp(-1 / span);
  let [sum, weight] = [0, 0];
  return values.map((value) => {
    sum = decay * sum + (1 - decay) * value;
    weight = decay * weight + (1 - decay);
    return sum / weight;
  });
}

/** Draws the curve as an SVG document. */
export function lossCurve(records: readonly StepRecord[], options: LossCurveOptions): string {
  const { sampleSteps = [], maxTrainSteps } = options;
  const smoothed = smooth(
    records.map(({ loss }) => loss),
    smoothingSpan(maxTrainSteps),
  );
  const [low, high] = rangeOf(records.map(({ loss }) => loss));
  const plot = { width: WIDTH - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
  const x = (step: number) => MARGIN.left + (plot.width * step) / maxTrainSteps;
  const y = (loss: number) => {
    const share = Math.min(1, Math.max(0, (loss - low) / (high - low)));
    return MARGIN.top + plot.height * (1 - share);
  };
  const line = (values: readonly number[]) =>
    thinned(records.map(({ step }, i) => `${x(step).toFixed(1)},${y(values[i]!).toFixed(1)}`)).join(' ');
  const last = records.at(-1);
  const title = last
    ? `loss ${smoothed.at(-1)!.toPrecision(3)} after ${last.step} of ${maxTrainSteps} steps`
    : `no step of ${maxTrainSteps} yet`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    text(title, { x: MARGIN.left, y: 20, anchor: 'start' }),
    ...ticks(low, high, 4).flatMap((loss) => gridLine(y(loss), String(loss))),
    ...ticks(0, maxTrainSteps, 6).map((step) => text(String(step), { x: x(step), y: HEIGHT - 20, anchor: 'middle' })),
    text('steps', { x: WIDTH - MARGIN.right, y: HEIGHT - 6, anchor: 'end' }),
    ...sampleSteps.map((step) => sampleMark(x(step), MARGIN.top + plot.height)),
    `<polyline points="${line(records.map(({ loss }) => loss))}" fill="none" stroke="#9ec5e8" stroke-width="1"/>`,
    `<polyline points="${line(smoothed)}" fill="none" stroke="#1f5fa8" stroke-width="2.5" stroke-linejoin="round"/>`,
    '</svg>\n',
  ].join('\n');
}

/** The losses without their outliers, with a little room; never empty. */
function rangeOf(losses: readonly number[]): [low: number, high: number] {
  const sorted = losses.filter(Number.isFinite).sort((a, b) => a - b);
  if (sorted.length === 0) return [0, 1];
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!;
  const [low, high] = [at(OUTSIDE), at(1 - OUTSIDE)];
  const room = (high - low || Math.abs(high) || 1) * 0.05;
  return [low - room, high + room];
}

/** Round numbers inside a range, about `count` of them. */
function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const first = Math.ceil(low / step);
  const length = Math.floor(high / step) - first + 1;
  // Twelve digits hide what adding up decimal fractions leaves behind.
  return Array.from({ length }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** At most MAX_POINTS of the points, evenly spaced, the last one among them. */
function thinned<T>(points: readonly T[]): readonly T[] {
  const stride = Math.ceil(points.length / MAX_POINTS);
  return points.filter((_, i) => (points.length - 1 - i) % stride === 0);
}

function gridLine(y: number, label: string): string[] {
  const line = `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y.toFixed(1)}" y2="${y.toFixed(1)}" stroke="#e4e4e4"/>`;
  return [line, text(label, { x: MARGIN.left - 8, y: y + 4, anchor: 'end' })];
}

function sampleMark(x: number, bottom: number): string {
  return `<line x1="${x.toFixed(1)}" x2="${x.toFixed(1)}" y1="${bottom}" y2="${bottom + 6}" stroke="#c2410c" stroke-width="2"/>`;
}

function text(content: string, { x, y, anchor }: { x: number; y: number; anchor: string }): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" fill="#444444">${content}</text>`;
}
