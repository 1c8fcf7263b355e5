import type { PredictionType, SolverSettings } from './scheduler-config.ts';

/** Draws `count` values of unit normal noise. */
export type Randn = (count: number) => Float32Array;

/** What one step yields; both have the sample's length. */
export interface StepResult {
  /** The sample at the next, lower noise level. */
  prevSample: Float32Array;
  /** The clean sample that the network's output implies. */
  predOriginalSample: Float32Array;
}

/** The sampler of one picture; keeps the history of its multistep solver, so it serves once. */
export interface Scheduler {
  /** One per network call, descending except where a solver visits a timestep twice; may be fractional. */
  readonly timesteps: readonly number[];
  /** Standard deviation of the noise that sampling from nothing starts with. */
  readonly initNoiseSigma: number;
  readonly predictionType: PredictionType;
  /** Scales the sample to what the network expects at timesteps[stepIndex]. */
  scaleModelInput(sample: Float32Array, stepIndex: number): Float32Array;
  /**
   * Takes one step from timesteps[stepIndex]; to be called with 0, 1, 2 … in this order.
   * @param noisePred  the network's output, whatever predictionType says that it means
   * @param randn  called once by the stochastic solvers, otherwise not at all
   */
  step(noisePred: Float32Array, stepIndex: number, sample: Float32Array, randn: Randn): StepResult;
  /** Noises a clean sample to the level of timesteps[stepIndex]. */
  addNoise(original: Float32Array, noise: Float32Array, stepIndex: number): Float32Array;
}

/** The numerical method behind a scheduler; `index` counts in the whole list of timesteps, also if sampling starts late. */
export interface Solver {
  readonly timesteps: readonly number[];
  readonly initNoiseSigma: number;
  scaleModelInput(sample: Float32Array, index: number): Float32Array;
  step(noisePred: Float32Array, index: number, sample: Float32Array, randn: Randn): StepResult;
  addNoise(original: Float32Array, noise: Float32Array, index: number): Float32Array;
}

/** Options of a solver that do not come from the folder. */
export interface SolverOptions {
  numInferenceSteps: number;
  /** Share of DDPM's noise that DDIM adds, [0, 1]; the other solvers ignore it. */
  eta: number;
}

export type CreateSolver = (settings: SolverSettings, options: SolverOptions) => Solver;
