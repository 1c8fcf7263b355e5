import { expect, test } from 'vitest';
import {
  createScheduler,
  SCHEDULER_NAMES,
  type SchedulerName,
  type SchedulerOptions,
} from '../../../../worker/diffusion/schedulers/create-scheduler.ts';
import {
  parseSchedulerConfig,
  type SchedulerConfig,
} from '../../../../worker/diffusion/schedulers/scheduler-config.ts';
import { goldenTensor, loadGolden } from '../../../support/golden.ts';

interface GoldenRun {
  timesteps: number[];
  init_noise_sigma: number;
  final: number[];
  noise_draws: number;
  sigmas?: number[];
}

interface GridRun extends GoldenRun {
  scheduler_config: unknown;
  num_inference_steps: number;
  strength?: number;
  eta?: number;
  last_noised?: number[];
}

const TOLERANCE = 1e-4;
const SHAPE = [6];

/** The settings that the published Stable Diffusion 1 files state. */
const SD_BETAS = { beta_schedule: 'scaled_linear', beta_start: 0.00085, beta_end: 0.012, steps_offset: 1 };
const SD1 = {
  _class_name: 'PNDMScheduler',
  ...SD_BETAS,
  clip_sample: false,
  set_alpha_to_one: false,
  skip_prk_steps: true,
};
const SDXL = { ...SD1, _class_name: 'EulerDiscreteScheduler', timestep_spacing: 'leading' };
const LINSPACE = { timestep_spacing: 'linspace' };
const TRAILING = { timestep_spacing: 'trailing' };
const LEADING = { timestep_spacing: 'leading' };
const V = { prediction_type: 'v_prediction' };

/** What each entry of golden/schedulers.json was made with: changes to the SD1 file, and options. */
const GOLDEN_CASES: Record<string, [changes: object, options: Partial<SchedulerOptions>]> = {
  'ddim-sd1 leading': [{}, { name: 'ddim' }],
  'ddim-sd21 v leading': [{ ...V, _class_name: 'DDIMScheduler' }, {}],
  'ddim trailing zsnr v': [
    { ...V, ...TRAILING, rescale_betas_zero_snr: true, set_alpha_to_one: true },
    { name: 'ddim' },
  ],
  'ddim eta=1 leading': [{}, { name: 'ddim', eta: 1 }],
  'ddpm leading (10 steps)': [{}, { name: 'ddpm' }],
  'pndm-sd1': [{}, {}],
  'euler-sdxl leading': [SDXL, {}],
  'euler linspace': [LINSPACE, { name: 'euler' }],
  'euler trailing v': [{ ...V, ...TRAILING }, { name: 'euler' }],
  'euler karras leading': [{ ...SDXL, use_karras_sigmas: true }, {}],
  'euler-a trailing': [TRAILING, { name: 'euler-a' }],
  'euler-a leading': [LEADING, { name: 'euler-a' }],
  'dpm++2m leading': [LEADING, { name: 'dpmpp-2m' }],
  'dpm++2m linspace': [LINSPACE, { name: 'dpmpp-2m' }],
  'dpm++2m karras leading': [LEADING, { name: 'dpmpp-2m-karras' }],
  'dpm++2m v trailing': [{ ...V, ...TRAILING }, { name: 'dpmpp-2m' }],
  'sde-dpm++2m karras leading': [LEADING, { name: 'dpmpp-2m-sde-karras' }],
  'unipc bh2 leading': [LEADING, { name: 'unipc' }],
  'unipc bh2 linspace': [LINSPACE, { name: 'unipc' }],
  'heun leading': [LEADING, { name: 'heun' }],
  lcm: [{}, { name: 'lcm', numInferenceSteps: 4 }],
};

/** Samples with the toy network tanh(0.8 x) + 0.05 cos(t / 150). */
function sample(config: SchedulerConfig, options: SchedulerOptions) {
  const scheduler = createScheduler(config, options);
  let noiseDraws = 0;
  const randn = () => {
    noiseDraws += 1;
    return goldenTensor(`in:noise${noiseDraws}`, SHAPE);
  };
  let x =
    options.strength === undefined
      ? goldenTensor('in:schedx', SHAPE).map((value) => value * scheduler.initNoiseSigma)
      : scheduler.addNoise(goldenTensor('in:schedz', SHAPE), randn(), 0);
  for (const [stepIndex, timestep] of scheduler.timesteps.entries()) {
    const input = scheduler.scaleModelInput(x, stepIndex);
    const output = input.map((value) => Math.tanh(0.8 * value) + 0.05 * Math.cos(timestep / 150));
    x = scheduler.step(output, stepIndex, x, randn).prevSample;
  }
  return { scheduler, final: x, noiseDraws };
}

function expectClose(actual: ArrayLike<number>, expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  const largest = Math.max(...expected.map(Math.abs));
  for (const [index, value] of expected.entries()) {
    expect(Math.abs(actual[index]! - value), `element ${index}: ${actual[index]} for ${value}`).toBeLessThanOrEqual(
      TOLERANCE * largest,
    );
  }
}

function expectRun(run: ReturnType<typeof sample>, golden: GoldenRun): void {
  expectClose(run.scheduler.timesteps, golden.timesteps);
  expectClose([run.scheduler.initNoiseSigma], [golden.init_noise_sigma]);
  expect(run.noiseDraws).toBe(golden.noise_draws);
  expectClose(run.final, golden.final);
}

const published = await loadGolden<Record<string, GoldenRun>>('schedulers.json');

test('golden cases are all covered', () => {
  expect(Object.keys(GOLDEN_CASES).sort()).toEqual(Object.keys(published).sort());
});

test.each(Object.entries(GOLDEN_CASES))('sampling matches diffusers for %s', (name, [changes, options]) => {
  const config = parseSchedulerConfig({ ...SD1, ...changes });
  expectRun(sample(config, { numInferenceSteps: 10, ...options }), published[name]!);
});

test.each(Object.entries(published).filter(([, golden]) => golden.sigmas !== undefined))(
  'noise levels match diffusers for %s',
  (name, golden) => {
    const [changes, options] = GOLDEN_CASES[name]!;
    const scheduler = createScheduler(parseSchedulerConfig({ ...SD1, ...changes }), {
      numInferenceSteps: 10,
      ...options,
    });
    const [zero, one] = [Float32Array.of(0), Float32Array.of(1)];
    // sigma is the noise per unit of signal, whichever of the two the solver scales.
    const sigmas = scheduler.timesteps.map(
      (_, stepIndex) => scheduler.addNoise(zero, one, stepIndex)[0]! / scheduler.addNoise(one, zero, stepIndex)[0]!,
    );
    expectClose([...sigmas, 0], golden.sigmas!);
  },
);

const { cases: grid } = await loadGolden<{ cases: Record<string, GridRun> }>('schedulers-grid.json');

test.each(Object.entries(grid))('sampling matches diffusers for %s', (_name, golden) => {
  const options = {
    numInferenceSteps: golden.num_inference_steps,
    strength: golden.strength,
    eta: golden.eta,
  };
  const run = sample(parseSchedulerConfig(golden.scheduler_config), options);
  expectRun(run, golden);
  if (golden.last_noised !== undefined) {
    const last = run.scheduler.timesteps.length - 1;
    const [original, noise] = [goldenTensor('in:schedz', SHAPE), goldenTensor('in:noise1', SHAPE)];
    expectClose(run.scheduler.addNoise(original, noise, last), golden.last_noised);
  }
});

test('swapped scheduler takes its own defaults for what the file leaves out', () => {
  const timesteps = (file: object, name: SchedulerName) =>
    createScheduler(parseSchedulerConfig(file), { name, numInferenceSteps: 4 }).timesteps;
  expect(timesteps(SD1, 'euler')).toEqual([999, 666, 333, 0]);
  expect(timesteps(SD1, 'dpmpp-2m')).toEqual([999, 749, 500, 250]);
  expect(timesteps(SD1, 'ddim')).toEqual([751, 501, 251, 1]);
  expect(timesteps(SDXL, 'euler')).toEqual([751, 501, 251, 1]);
  expect(timesteps(SDXL, 'dpmpp-2m')).toEqual([801, 601, 401, 201]);
});

test('lcm timesteps are those of its distillation', () => {
  const timesteps = (numInferenceSteps: number) =>
    createScheduler(parseSchedulerConfig(SD1), { name: 'lcm', numInferenceSteps }).timesteps;
  expect(timesteps(1)).toEqual([999]);
  expect(timesteps(2)).toEqual([999, 499]);
  expect(timesteps(8)).toEqual([999, 879, 759, 639, 499, 379, 259, 139]);
});

test('euler ancestral equals ddpm on equal timesteps', () => {
  const config = parseSchedulerConfig({ ...SD1, ...LEADING });
  const ancestral = sample(config, { name: 'euler-a', numInferenceSteps: 20 });
  const ddpm = sample(config, { name: 'ddpm', numInferenceSteps: 20 });
  expect(ancestral.scheduler.timesteps).toEqual(ddpm.scheduler.timesteps);
  expectClose(ancestral.final, Array.from(ddpm.final));
});

test.each(SCHEDULER_NAMES)('%s returns the clean sample when the network predicts the noise exactly', (name) => {
  const scheduler = createScheduler(parseSchedulerConfig({ ...SD1, ...LEADING }), { name, numInferenceSteps: 10 });
  const [original, noise] = [goldenTensor('in:schedz', SHAPE), goldenTensor('in:noise1', SHAPE)];
  const noised = scheduler.addNoise(original, noise, 0);
  const { predOriginalSample } = scheduler.step(noise, 0, noised, () => goldenTensor('in:noise2', SHAPE));
  expectClose(predOriginalSample, Array.from(original));
});

test.each(SCHEDULER_NAMES)('%s starts as late as the strength says', (name) => {
  const config = parseSchedulerConfig({ ...SD1, ...LEADING });
  const whole = createScheduler(config, { name, numInferenceSteps: 10 }).timesteps;
  const part = createScheduler(config, { name, numInferenceSteps: 10, strength: 0.35 }).timesteps;
  expect(part).toEqual(whole.slice(name === 'heun' ? 14 : 7));
});

test('ddim with zero terminal signal stays finite when eta is 1', () => {
  const config = parseSchedulerConfig({ ...SD1, ...V, ...TRAILING, rescale_betas_zero_snr: true });
  const { final } = sample(config, { name: 'ddim', numInferenceSteps: 25, eta: 1 });
  expect(final.every(Number.isFinite)).toBe(true);
});

test('scheduler refuses a step out of order', () => {
  const scheduler = createScheduler(parseSchedulerConfig(SD1), { numInferenceSteps: 4 });
  const x = new Float32Array(6);
  const randn = () => x;
  scheduler.step(x, 0, x, randn);
  expect(() => scheduler.step(x, 2, x, randn)).toThrow('stepIndex must be 1, got 2');
  expect(() => scheduler.step(x, 5, x, randn)).toThrow('stepIndex must be below 5, got 5');
  expect(() => scheduler.addNoise(x, x, -1)).toThrow('got -1');
});

test.each<[string, object, SchedulerOptions]>([
  ['must be an integer above 0, got 0', {}, { numInferenceSteps: 0 }],
  ['must be an integer above 0, got 2.5', {}, { numInferenceSteps: 2.5 }],
  ['must fit into 1000 training timesteps, got 1001', {}, { numInferenceSteps: 1001 }],
  ['must fit into 1000 training timesteps, got 1000', {}, { numInferenceSteps: 1000, name: 'dpmpp-2m' }],
  ['lcm takes at most 50 steps, got 51', {}, { numInferenceSteps: 51, name: 'lcm' }],
  ['strength must be above 0 and at most 1, got 0', {}, { numInferenceSteps: 4, strength: 0 }],
  ['strength must be above 0 and at most 1, got 1.1', {}, { numInferenceSteps: 4, strength: 1.1 }],
  ['must be at least 1, got 4 · 0.2', {}, { numInferenceSteps: 4, strength: 0.2 }],
  ['trained_betas must have 1000 values, got 2', { trained_betas: [0.1, 0.2] }, { numInferenceSteps: 4 }],
  ['got sample', { prediction_type: 'sample' }, { numInferenceSteps: 4 }],
  ['got sample', { prediction_type: 'sample' }, { numInferenceSteps: 4, name: 'euler-a' }],
  [
    'solver_order must be 1 or 2, got 3',
    { _class_name: 'DPMSolverMultistepScheduler', algorithm_type: 'sde-dpmsolver++', solver_order: 3 },
    { numInferenceSteps: 4 },
  ],
  ['lower_order_final must be true', { lower_order_final: false }, { numInferenceSteps: 4, name: 'unipc' }],
  ['got epsilon', { ...TRAILING, rescale_betas_zero_snr: true }, { numInferenceSteps: 4, name: 'ddim' }],
])('scheduler is refused with "%s"', (message, changes, options) => {
  const config = parseSchedulerConfig({ ...SD1, ...changes });
  expect(() => createScheduler(config, options)).toThrow(message);
});
