/** Something loaded that must be disposed of. */
interface Loaded {
  dispose(): Promise<void>;
}

/** Loads something when it is first asked for, once, and again if loading failed; must be disposed of. */
export class OnDemand<T extends Loaded> {
  readonly #load: () => Promise<T>;
  #loading: Promise<T> | undefined;

  constructor(load: () => Promise<T>) {
    this.#load = load;
  }

  /** What is loaded stays owned by this. */
  get(): Promise<T> {
    this.#loading ??= this.#load().catch((error: unknown) => {
      this.#loading = undefined;
      throw error;
    });
    return this.#loading;
  }

  async dispose(): Promise<void> {
    await (await this.#loading)?.dispose();
  }
}
