import { Presets, SingleBar } from 'cli-progress';

/** A progress bar on standard error that shows seconds per step; a line every 5 seconds where that is not a terminal. */
export class StepProgress {
  readonly #bar: SingleBar;
  readonly #started = performance.now();

  /** Starts when the first step is done: what came before it was mostly loading. */
  constructor(label: string, stepCount: number) {
    const format = `${label} {bar} {value}/{total} | {secondsPerStep} s per step | {eta_formatted} left`;
    const options = { format, noTTYOutput: true, notTTYSchedule: 5000, hideCursor: true, etaBuffer: 5 };
    this.#bar = new SingleBar(options, Presets.shades_grey);
    this.#bar.start(stepCount, 1, { secondsPerStep: '-' });
  }

  /** @param done  steps that are finished, 2 or more */
  update(done: number): void {
    const secondsPerStep = (performance.now() - this.#started) / 1000 / (done - 1);
    this.#bar.update(done, { secondsPerStep: secondsPerStep.toFixed(2) });
  }

  stop(): void {
    this.#bar.stop();
  }
}
