import { z } from 'zod';
import { UserError } from '../../../shared/errors.ts';
import { describeIssues } from '../../networks/config.ts';

/** What the network's output stands for; spelled as in config.json. */
export type PredictionType = 'epsilon' | 'v_prediction' | 'sample';
export type BetaSchedule = 'linear' | 'scaled_linear' | 'squaredcos_cap_v2';
export type TimestepSpacing = 'leading' | 'trailing' | 'linspace';
export type AlgorithmType = 'dpmsolver++' | 'sde-dpmsolver++';

/** The solvers, one per diffusers class. */
export type SolverKind = 'ddim' | 'ddpm' | 'pndm' | 'euler' | 'euler-a' | 'dpmpp' | 'unipc' | 'heun' | 'lcm';

/** Every setting that a solver reads; a solver ignores those that its diffusers class lacks. */
export interface SolverSettings {
  numTrainTimesteps: number;
  betaStart: number;
  betaEnd: number;
  betaSchedule: BetaSchedule;
  /** One beta per training timestep; takes the place of the other three when present. */
  trainedBetas: readonly number[] | undefined;
  rescaleBetasZeroSnr: boolean;
  predictionType: PredictionType;
  timestepSpacing: TimestepSpacing;
  stepsOffset: number;
  clipSample: boolean;
  clipSampleRange: number;
  setAlphaToOne: boolean;
  useKarrasSigmas: boolean;
  algorithmType: AlgorithmType;
  /** heun is a variant of DPM-Solver++; the others belong to further solvers and mean midpoint there. */
  solverType: 'midpoint' | 'heun' | 'logrho' | 'bh2';
  solverOrder: number;
  lowerOrderFinal: boolean;
  /** Log signal-to-noise ratio below which DPM-Solver++ does not start. */
  lambdaMinClipped: number;
  originalInferenceSteps: number;
  timestepScaling: number;
}

/**
 * A scheduler_config.json: the solver and the settings that the file states.
 * A setting that the file leaves out takes the default of whichever solver is used, which need not be the file's own.
 */
export type SchedulerConfig = { solver: SolverKind } & {
  [Key in keyof SolverSettings]?: SolverSettings[Key] | undefined;
};

/** Settings of every diffusers class where it does not say otherwise. */
const COMMON_DEFAULTS: SolverSettings = {
  numTrainTimesteps: 1000,
  betaStart: 0.0001,
  betaEnd: 0.02,
  betaSchedule: 'linear',
  trainedBetas: undefined,
  rescaleBetasZeroSnr: false,
  predictionType: 'epsilon',
  timestepSpacing: 'linspace',
  stepsOffset: 0,
  clipSample: false,
  clipSampleRange: 1,
  setAlphaToOne: true,
  useKarrasSigmas: false,
  algorithmType: 'dpmsolver++',
  solverType: 'midpoint',
  solverOrder: 2,
  lowerOrderFinal: true,
  lambdaMinClipped: Number.NEGATIVE_INFINITY,
  originalInferenceSteps: 50,
  timestepScaling: 10,
};

/** Defaults of the diffusers classes that differ from the common ones. */
const CLASS_DEFAULTS: { [Kind in SolverKind]: Partial<SolverSettings> } = {
  ddim: { timestepSpacing: 'leading', clipSample: true },
  ddpm: { timestepSpacing: 'leading', clipSample: true },
  pndm: { timestepSpacing: 'leading', setAlphaToOne: false },
  euler: {},
  'euler-a': {},
  dpmpp: {},
  unipc: {},
  heun: { betaStart: 0.00085, betaEnd: 0.012 },
  lcm: { betaStart: 0.00085, betaEnd: 0.012, betaSchedule: 'scaled_linear', timestepSpacing: 'leading' },
};

/** Classes that have no rescale_betas_zero_snr: a file's value is dropped when they are swapped in. */
const WITHOUT_ZERO_SNR: ReadonlySet<SolverKind> = new Set(['pndm', 'heun']);

/** Completes a file's settings with the defaults of the solver that will run. */
export function solverSettings(config: SchedulerConfig, kind: SolverKind): SolverSettings {
  const { solver: _fileSolver, ...fileSettings } = config;
  const stated = Object.fromEntries(Object.entries(fileSettings).filter(([, value]) => value !== undefined));
  const settings: SolverSettings = { ...COMMON_DEFAULTS, ...CLASS_DEFAULTS[kind], ...stated };
  return WITHOUT_ZERO_SNR.has(kind) ? { ...settings, rescaleBetasZeroSnr: false } : settings;
}

/**
 * Overrides what early Stable Diffusion 1 folders state wrongly or leave out.
 * Source: the constructor of diffusers' StableDiffusionPipeline; the SDXL pipelines do not do this.
 */
export function withStableDiffusionDefaults(config: SchedulerConfig): SchedulerConfig {
  return { ...config, stepsOffset: 1, clipSample: false };
}

const SOLVER_BY_CLASS = {
  DDIMScheduler: 'ddim',
  DDPMScheduler: 'ddpm',
  PNDMScheduler: 'pndm',
  EulerDiscreteScheduler: 'euler',
  EulerAncestralDiscreteScheduler: 'euler-a',
  DPMSolverMultistepScheduler: 'dpmpp',
  UniPCMultistepScheduler: 'unipc',
  HeunDiscreteScheduler: 'heun',
  LCMScheduler: 'lcm',
} as const satisfies Record<string, SolverKind>;

const beta = z.number().min(0).max(1);
const flag = z.boolean().nullish();
const off = z.literal(false).nullish();

const configSchema = z.object({
  _class_name: z.enum(Object.keys(SOLVER_BY_CLASS) as (keyof typeof SOLVER_BY_CLASS)[]),
  num_train_timesteps: z.int().min(1).max(100_000).nullish(),
  beta_start: beta.nullish(),
  beta_end: beta.nullish(),
  beta_schedule: z.enum(['linear', 'scaled_linear', 'squaredcos_cap_v2']).nullish(),
  trained_betas: z.array(beta).min(1).max(100_000).nullish(),
  rescale_betas_zero_snr: flag,
  prediction_type: z.enum(['epsilon', 'v_prediction', 'sample']).nullish(),
  timestep_spacing: z.enum(['leading', 'trailing', 'linspace']).nullish(),
  steps_offset: z.int().min(0).max(100_000).nullish(),
  clip_sample: flag,
  clip_sample_range: z.number().positive().nullish(),
  set_alpha_to_one: flag,
  use_karras_sigmas: flag,
  algorithm_type: z.enum(['dpmsolver++', 'sde-dpmsolver++']).nullish(),
  solver_type: z.enum(['midpoint', 'heun', 'logrho', 'bh2']).nullish(),
  solver_order: z.int().min(1).max(3).nullish(),
  lower_order_final: flag,
  lambda_min_clipped: z.union([z.number(), z.literal(Number.NEGATIVE_INFINITY)]).nullish(),
  original_inference_steps: z.int().min(1).max(100_000).nullish(),
  timestep_scaling: z.number().positive().nullish(),
  // Keys of the same classes whose other values would change the picture and are not implemented.
  thresholding: off,
  use_exponential_sigmas: off,
  use_beta_sigmas: off,
  use_lu_lambdas: off,
  use_flow_sigmas: off,
  use_dynamic_shifting: off,
  predict_x0: z.literal(true).nullish(),
  skip_prk_steps: z.literal(true).nullish(),
  interpolation_type: z.literal('linear').nullish(),
  timestep_type: z.literal('discrete').nullish(),
  variance_type: z.literal('fixed_small').nullish(),
  final_sigmas_type: z.literal('zero').nullish(),
  disable_corrector: z.array(z.unknown()).max(0).nullish(),
  solver_p: z.null().optional(),
  sigma_min: z.null().optional(),
  sigma_max: z.null().optional(),
  shift_terminal: z.null().optional(),
});

/**
 * Reads a scheduler_config.json; keys that are null count as absent and unknown ones are ignored.
 * @throws UserError that names each key whose value is malformed or asks for something that is not implemented
 */
export function parseSchedulerConfig(json: unknown): SchedulerConfig {
  const parsed = configSchema.safeParse(json);
  if (!parsed.success) throw new UserError(`Cannot use the scheduler: ${describeIssues(parsed.error, json)}`);
  const file = parsed.data;
  return {
    solver: SOLVER_BY_CLASS[file._class_name],
    numTrainTimesteps: file.num_train_timesteps ?? undefined,
    betaStart: file.beta_start ?? undefined,
    betaEnd: file.beta_end ?? undefined,
    betaSchedule: file.beta_schedule ?? undefined,
    trainedBetas: file.trained_betas ?? undefined,
    rescaleBetasZeroSnr: file.rescale_betas_zero_snr ?? undefined,
    predictionType: file.prediction_type ?? undefined,
    timestepSpacing: file.timestep_spacing ?? undefined,
    stepsOffset: file.steps_offset ?? undefined,
    clipSample: file.clip_sample ?? undefined,
    clipSampleRange: file.clip_sample_range ?? undefined,
    setAlphaToOne: file.set_alpha_to_one ?? undefined,
    useKarrasSigmas: file.use_karras_sigmas ?? undefined,
    algorithmType: file.algorithm_type ?? undefined,
    solverType: file.solver_type ?? undefined,
    solverOrder: file.solver_order ?? undefined,
    lowerOrderFinal: file.lower_order_final ?? undefined,
    lambdaMinClipped: file.lambda_min_clipped ?? undefined,
    originalInferenceSteps: file.original_inference_steps ?? undefined,
    timestepScaling: file.timestep_scaling ?? undefined,
  };
}
