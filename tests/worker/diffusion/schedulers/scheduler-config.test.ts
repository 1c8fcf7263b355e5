import { expect, test } from 'vitest';
import { UserError } from '../../../../shared/errors.ts';
import {
  parseSchedulerConfig,
  solverSettings,
  withStableDiffusionDefaults,
} from '../../../../worker/diffusion/schedulers/scheduler-config.ts';

test('scheduler file keeps only the settings that it states', () => {
  const config = parseSchedulerConfig({
    _class_name: 'EulerDiscreteScheduler',
    _diffusers_version: '0.19.0.dev0',
    beta_end: 0.012,
    interpolation_type: 'linear',
    skip_prk_steps: true,
    trained_betas: null,
    some_future_key: 3,
  });
  const stated = Object.entries(config).filter(([, value]) => value !== undefined);
  expect(Object.fromEntries(stated)).toEqual({ solver: 'euler', betaEnd: 0.012 });
});

test('absent settings take the defaults of the solver that runs', () => {
  const config = parseSchedulerConfig({ _class_name: 'DDIMScheduler', rescale_betas_zero_snr: true });
  expect(solverSettings(config, 'ddim')).toMatchObject({ timestepSpacing: 'leading', clipSample: true, betaEnd: 0.02 });
  expect(solverSettings(config, 'heun')).toMatchObject({ betaEnd: 0.012, rescaleBetasZeroSnr: false });
  expect(solverSettings(config, 'lcm')).toMatchObject({ betaSchedule: 'scaled_linear', rescaleBetasZeroSnr: true });
});

test('old Stable Diffusion files get the offset and no clipping', () => {
  const config = withStableDiffusionDefaults(parseSchedulerConfig({ _class_name: 'DDIMScheduler', steps_offset: 0 }));
  expect(solverSettings(config, 'ddim')).toMatchObject({ stepsOffset: 1, clipSample: false });
});

test('lambda_min_clipped may be minus infinity, which files write as a bare word', () => {
  const file = { _class_name: 'DPMSolverMultistepScheduler', lambda_min_clipped: Number.NEGATIVE_INFINITY };
  expect(parseSchedulerConfig(file).lambdaMinClipped).toBe(Number.NEGATIVE_INFINITY);
});

test.each([
  ['thresholding', true],
  ['algorithm_type', 'dpmsolver'],
  ['solver_order', 4],
  ['solver_type', 'bh1'],
  ['use_exponential_sigmas', true],
  ['use_beta_sigmas', true],
  ['use_flow_sigmas', true],
  ['use_lu_lambdas', true],
  ['interpolation_type', 'log_linear'],
  ['timestep_type', 'continuous'],
  ['variance_type', 'learned_range'],
  ['skip_prk_steps', false],
  ['final_sigmas_type', 'sigma_min'],
  ['prediction_type', 'flow_prediction'],
  ['beta_schedule', 'sigmoid'],
  ['predict_x0', false],
  ['disable_corrector', [0]],
  ['sigma_max', 80],
  ['beta_start', 'small'],
  ['num_train_timesteps', 1e9],
  ['_class_name', 'DEISMultistepScheduler'],
  ['_class_name', 'constructor'],
])('scheduler file is refused by name and value when %s is %j', (key, value) => {
  const parse = () => parseSchedulerConfig({ _class_name: 'DPMSolverMultistepScheduler', [key]: value });
  expect(parse).toThrow(UserError);
  expect(parse).toThrow(key);
  expect(parse).toThrow(`got ${JSON.stringify(value)}`);
});

test.each([null, 'PNDMScheduler', [], {}])('scheduler file is refused when it is %j', (json) => {
  expect(() => parseSchedulerConfig(json)).toThrow(UserError);
});
