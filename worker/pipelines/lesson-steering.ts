/** What a person wants of a lesson that runs: that it ends there, or with a sample that they like. */
export interface SteeringWish {
  readonly what: 'use-sample' | 'stop-here';
  /** Of the sample that the person saw. */
  readonly step?: number;
}

/**
 * Ends a lesson when it has what a person wants. A lesson that its worker's death set back is told the same again, and goes
 * on until it is there once more.
 */
export class LessonSteering {
  readonly #stop = new AbortController();
  #reached = 0;
  #wish: SteeringWish | undefined;

  /** Aborted when the lesson is to end with what has been learned. */
  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  /** The step whose state is to be the result; undefined takes the last. */
  get chosenStep(): number | undefined {
    return this.#wish?.what === 'use-sample' ? this.#wish.step : undefined;
  }

  hear(wish: SteeringWish): void {
    this.#wish = wish;
    this.#obey();
  }

  /** Says how many steps have been taken. */
  reached(step: number): void {
    this.#reached = step;
    this.#obey();
  }

  #obey(): void {
    const isThere = this.#reached > 0 && this.#reached >= (this.#wish?.step ?? 0);
    if (this.#wish && isThere) this.#stop.abort();
  }
}
