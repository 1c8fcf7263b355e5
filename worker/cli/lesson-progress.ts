import { Presets, SingleBar } from 'cli-progress';
import type { LessonEvent, LookingEvent, SampleEvent, StepsEvent } from '../pipelines/watched-lesson.ts';

/** Where a lesson's progress is shown. */
export interface ProgressStream {
  readonly isTTY?: boolean | undefined;
  write(text: string): unknown;
}

/** Between two lines where there is no terminal. */
const LINE_INTERVAL_MS = 5000;

/** Shows how a lesson goes: one line that moves on a terminal, else a plain line every few seconds and at the end. */
export class LessonProgressLine {
  readonly #stream: ProgressStream & NodeJS.WritableStream;
  #bar: SingleBar | undefined;
  #lastLine = Number.NEGATIVE_INFINITY;

  constructor(stream: ProgressStream & NodeJS.WritableStream) {
    this.#stream = stream;
  }

  update(event: LessonEvent): void {
    if (event.kind === 'preparing') this.message(`Class picture ${event.done} of ${event.total}`);
    else if (event.kind === 'sample') this.message(describeSample(event));
    else if (event.kind === 'looking') this.#showLook(event);
    else if (this.#stream.isTTY) this.#updateBar(event);
    else this.#printLine(event);
  }

  /** Prints a message above the line that moves. */
  message(text: string): void {
    this.stop();
    this.#stream.write(`${text}\n`);
  }

  /** Leaves the line as it is; a further update begins another. */
  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  #updateBar(event: StepsEvent): void {
    const { step, maxTrainSteps } = event;
    const shown = { words: describeSteps(event) };
    if (!this.#bar) {
      const options = { format: 'Learning {bar} {value}/{total} | {words}', hideCursor: true, stream: this.#stream };
      this.#bar = new SingleBar(options, Presets.shades_grey);
      this.#bar.start(maxTrainSteps, step, shown);
    }
    this.#bar.update(step, shown);
  }

  #showLook({ step, done, total }: LookingEvent): void {
    if (this.#stream.isTTY) this.#bar?.update(step, { words: `sample pictures, ${done} of ${total} denoising steps` });
  }

  #printLine(event: StepsEvent): void {
    const { step, maxTrainSteps } = event;
    const now = performance.now();
    if (now - this.#lastLine < LINE_INTERVAL_MS && step < maxTrainSteps) return;
    this.#lastLine = now;
    this.#stream.write(`Step ${step} of ${maxTrainSteps} | ${describeSteps(event)}\n`);
  }
}

/** Pictures and measures, such as "Step 100: lesson/samples/step-000100-0.png | drift 1.3 % | likeness 0.21". */
export function describeSample({ step, pictures, drift, likeness }: SampleEvent): string {
  const measures = [
    ...(drift === undefined ? [] : [`drift ${drift.toPrecision(2)} %`]),
    ...(likeness === undefined ? [] : [`likeness ${likeness.toFixed(2)}`]),
  ];
  return [`Step ${step}: ${pictures.join(', ')}`, ...measures].join(' | ');
}

/** Loss, rate, pace and what is left, such as "loss 0.1423 | rate 1.0e-4 | 2.10 s per step | 13 min left". */
export function describeSteps({ averageLoss, learningRate, secondsPerStep, secondsLeft }: StepsEvent): string {
  const left = secondsLeft === undefined ? 'measuring the pace' : `${describeDuration(secondsLeft)} left`;
  const rate = learningRate.toExponential(1);
  return `loss ${averageLoss.toFixed(4)} | rate ${rate} | ${secondsPerStep.toPrecision(3)} s per step | ${left}`;
}

/** Two digits are as much as an estimate knows: "40 s", "13 min", "2 h 05 min". */
export function describeDuration(seconds: number): string {
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}
