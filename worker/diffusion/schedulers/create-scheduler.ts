import { UserError } from '../../../shared/errors.ts';
import { createDdim } from './ddim.ts';
import { createDdpm } from './ddpm.ts';
import { createDpmSolver } from './dpm-solver.ts';
import { createEuler } from './euler.ts';
import { createEulerAncestral } from './euler-ancestral.ts';
import { createHeun } from './heun.ts';
import { createLcm } from './lcm.ts';
import { createPndm } from './pndm.ts';
import type { CreateSolver, Scheduler, Solver } from './scheduler.ts';
import { type SchedulerConfig, type SolverKind, type SolverSettings, solverSettings } from './scheduler-config.ts';
import { createUnipc } from './unipc.ts';

/** The schedulers that a person can ask for by name. */
export const SCHEDULER_NAMES = [
  'ddim',
  'ddpm',
  'pndm',
  'euler',
  'euler-a',
  'dpmpp-2m',
  'dpmpp-2m-karras',
  'dpmpp-2m-sde-karras',
  'unipc',
  'heun',
  'lcm',
] as const;
export type SchedulerName = (typeof SCHEDULER_NAMES)[number];

/** A solver, and the settings that its name fixes whatever the folder says. */
interface NamedScheduler {
  solver: SolverKind;
  settings: Partial<SolverSettings>;
}

const namedSchedulers: { [Name in SchedulerName]: NamedScheduler } = {
  ddim: { solver: 'ddim', settings: {} },
  ddpm: { solver: 'ddpm', settings: {} },
  pndm: { solver: 'pndm', settings: {} },
  euler: { solver: 'euler', settings: {} },
  'euler-a': { solver: 'euler-a', settings: {} },
  'dpmpp-2m': {
    solver: 'dpmpp',
    settings: { algorithmType: 'dpmsolver++', solverOrder: 2, useKarrasSigmas: false },
  },
  'dpmpp-2m-karras': {
    solver: 'dpmpp',
    settings: { algorithmType: 'dpmsolver++', solverOrder: 2, useKarrasSigmas: true },
  },
  'dpmpp-2m-sde-karras': {
    solver: 'dpmpp',
    settings: { algorithmType: 'sde-dpmsolver++', solverOrder: 2, useKarrasSigmas: true },
  },
  unipc: { solver: 'unipc', settings: {} },
  heun: { solver: 'heun', settings: {} },
  lcm: { solver: 'lcm', settings: {} },
};

/** A solver's constructor and the number of timesteps that one inference step takes in its list. */
interface SolverEntry {
  create: CreateSolver;
  order: number;
}

const solvers: { [Kind in SolverKind]: SolverEntry } = {
  ddim: { create: createDdim, order: 1 },
  ddpm: { create: createDdpm, order: 1 },
  pndm: { create: createPndm, order: 1 },
  euler: { create: createEuler, order: 1 },
  'euler-a': { create: createEulerAncestral, order: 1 },
  dpmpp: { create: createDpmSolver, order: 1 },
  unipc: { create: createUnipc, order: 1 },
  heun: { create: createHeun, order: 2 },
  lcm: { create: createLcm, order: 1 },
};

export interface SchedulerOptions {
  numInferenceSteps: number;
  /**
   * Swaps the folder's scheduler for this one; only settings that the file states carry over.
   * Source: from_config of diffusers' ConfigMixin.
   */
  name?: SchedulerName | undefined;
  /** (0, 1]; starts so late that this share of the steps remains, as for sampling from an image. 1 by default. */
  strength?: number | undefined;
  /** Share of DDPM's noise that DDIM adds, [0, 1]; 0 by default. The other schedulers take none. */
  eta?: number | undefined;
}

/**
 * Creates the sampler of one picture.
 * @throws UserError if the steps, the strength or the prediction type do not fit the scheduler
 */
export function createScheduler(config: SchedulerConfig, options: SchedulerOptions): Scheduler {
  const { numInferenceSteps, name, strength = 1, eta = 0 } = options;
  if (!Number.isInteger(numInferenceSteps) || numInferenceSteps < 1) {
    throw new UserError(`Cannot space the steps: their number must be an integer above 0, got ${numInferenceSteps}`);
  }
  const named = name === undefined ? { solver: config.solver, settings: {} } : namedSchedulers[name];
  const settings = { ...solverSettings(config, named.solver), ...named.settings };
  const { create, order } = solvers[named.solver];
  const solver = create(settings, { numInferenceSteps, eta });
  return startAt(firstStep(numInferenceSteps, strength) * order, solver, settings);
}

function firstStep(numInferenceSteps: number, strength: number): number {
  if (!(strength > 0 && strength <= 1)) {
    throw new UserError(`Cannot shorten the schedule: strength must be above 0 and at most 1, got ${strength}`);
  }
  const remaining = Math.trunc(numInferenceSteps * strength);
  if (remaining === 0) {
    throw new UserError(
      `Cannot shorten the schedule: steps · strength must be at least 1, got ${numInferenceSteps} · ${strength}`,
    );
  }
  return numInferenceSteps - remaining;
}

function startAt(begin: number, solver: Solver, settings: SolverSettings): Scheduler {
  const timesteps = solver.timesteps.slice(begin);
  let nextStep = 0;

  const toIndex = (stepIndex: number) => {
    if (timesteps[stepIndex] === undefined) {
      throw new Error(`Cannot reach a step: stepIndex must be below ${timesteps.length}, got ${stepIndex}`);
    }
    return begin + stepIndex;
  };

  return {
    timesteps,
    initNoiseSigma: solver.initNoiseSigma,
    predictionType: settings.predictionType,
    scaleModelInput: (sample, stepIndex) => solver.scaleModelInput(sample, toIndex(stepIndex)),
    addNoise: (original, noise, stepIndex) => solver.addNoise(original, noise, toIndex(stepIndex)),
    step(noisePred, stepIndex, sample, randn) {
      const index = toIndex(stepIndex);
      if (stepIndex !== nextStep) {
        throw new Error(`Cannot take a step out of order: stepIndex must be ${nextStep}, got ${stepIndex}`);
      }
      nextStep += 1;
      return solver.step(noisePred, index, sample, randn);
    },
  };
}
