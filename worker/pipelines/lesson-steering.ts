/** What a person says to a lesson that runs: that it has learned enough, or which of its samples they like. */
export class LessonSteering {
  readonly #stop = new AbortController();
  #chosenStep: number | undefined;

  /** Aborted when the lesson is to end with what has been learned. */
  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  /** The step whose state is to be the result; undefined takes the last. */
  get chosenStep(): number | undefined {
    return this.#chosenStep;
  }

  hear({ what, step }: { readonly what: 'use-sample' | 'stop-here'; readonly step?: number }): void {
    if (what === 'use-sample') this.#chosenStep = step;
    this.#stop.abort();
  }
}
