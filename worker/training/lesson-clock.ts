/** Tells how long a lesson will still take, from how long its steps and its looks at them took. */
export class LessonClock {
  readonly #runs: { readonly steps: number; readonly seconds: number }[] = [];
  #secondsPerLook: number | undefined;

  /** Counts a run of the device. */
  ran(steps: number, seconds: number): void {
    this.#runs.push({ steps, seconds });
    if (this.#runs.length > RUNS_REMEMBERED + 1) this.#runs.splice(1, 1);
  }

  /** Counts a look at the lesson: sample pictures and measures. */
  looked(seconds: number): void {
    this.#secondsPerLook = seconds;
  }

  /** Of the runs remembered; undefined before the second run, since the first one warms up. */
  get secondsPerStep(): number | undefined {
    const warm = this.#runs.slice(1);
    if (warm.length === 0) return undefined;
    const total = (of: (run: { steps: number; seconds: number }) => number) =>
      warm.reduce((sum, run) => sum + of(run), 0);
    return total(({ seconds }) => seconds) / total(({ steps }) => steps);
  }

  /** Seconds for the rest; undefined before the second run. */
  secondsLeft({ steps, looks }: { steps: number; looks: number }): number | undefined {
    const { secondsPerStep } = this;
    return secondsPerStep === undefined ? undefined : steps * secondsPerStep + looks * (this.#secondsPerLook ?? 0);
  }
}

/** About a minute of them: the estimate follows a machine that others use as well. */
const RUNS_REMEMBERED = 30;
