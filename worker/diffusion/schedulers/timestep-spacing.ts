import { UserError } from '../../../shared/errors.ts';
import { linspace } from './noise-schedule.ts';
import type { SolverSettings, TimestepSpacing } from './scheduler-config.ts';

/** What a rule needs besides the settings; multistep solvers may start below the last training timestep. */
export interface Span {
  numInferenceSteps: number;
  /** Number of training timesteps, counted from 0, that the steps spread over. */
  usedTimesteps: number;
}

type SpacingRule = (settings: SolverSettings, span: Span) => number[];
type SpacingRules = { [Spacing in TimestepSpacing]: SpacingRule };

/** Rounds halves to the even neighbour, as numpy does. */
export function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

// Table 2 of arXiv 2305.08891. The sum is ordered as in numpy's arange, which decides how halves round.
const trailing: SpacingRule = ({ numTrainTimesteps }, { numInferenceSteps, usedTimesteps }) => {
  const ratio = numTrainTimesteps / numInferenceSteps;
  const delta = usedTimesteps - ratio - usedTimesteps;
  const count = usedTimesteps === numTrainTimesteps ? numInferenceSteps : Math.ceil(usedTimesteps / ratio);
  return Array.from({ length: count }, (_, index) => roundHalfToEven(usedTimesteps + index * delta) - 1);
};

const denoisingSpacing: SpacingRules = {
  leading: ({ stepsOffset }, { numInferenceSteps, usedTimesteps }) => {
    const ratio = Math.floor(usedTimesteps / numInferenceSteps);
    return Array.from(
      { length: numInferenceSteps },
      (_, index) => (numInferenceSteps - 1 - index) * ratio + stepsOffset,
    );
  },
  trailing,
  linspace: (_settings, { numInferenceSteps, usedTimesteps }) =>
    Array.from(linspace(0, usedTimesteps - 1, numInferenceSteps)).reverse(),
};

/** Spaces timesteps so that the step after the last one, at timestep 0, counts as one of the intervals. */
const multistepSpacing: SpacingRules = {
  leading: ({ stepsOffset }, { numInferenceSteps, usedTimesteps }) => {
    const ratio = Math.floor(usedTimesteps / (numInferenceSteps + 1));
    return Array.from({ length: numInferenceSteps }, (_, index) => (numInferenceSteps - index) * ratio + stepsOffset);
  },
  trailing,
  linspace: (_settings, { numInferenceSteps, usedTimesteps }) =>
    Array.from(linspace(0, usedTimesteps - 1, numInferenceSteps + 1), roundHalfToEven)
      .reverse()
      .slice(0, -1),
};

/**
 * Spaces the timesteps of DDPM, DDIM and PNDM; descending integers.
 * @throws UserError if there are more steps than the training timesteps allow
 */
export function integerTimesteps(settings: SolverSettings, numInferenceSteps: number): number[] {
  return fractionalTimesteps(settings, numInferenceSteps).map(roundHalfToEven);
}

/**
 * Spaces the timesteps of Euler and Heun; descending, fractional for linspace.
 * @throws UserError if there are more steps than the training timesteps allow
 */
export function fractionalTimesteps(settings: SolverSettings, numInferenceSteps: number): number[] {
  const span = { numInferenceSteps, usedTimesteps: settings.numTrainTimesteps };
  return checkTimesteps(denoisingSpacing[settings.timestepSpacing](settings, span), settings.numTrainTimesteps);
}

/**
 * Spaces the timesteps of DPM-Solver++ and UniPC; descending integers.
 * @throws UserError if there are more steps than the training timesteps allow
 */
export function multistepTimesteps(settings: SolverSettings, span: Span): number[] {
  return checkTimesteps(multistepSpacing[settings.timestepSpacing](settings, span), settings.numTrainTimesteps);
}

function checkTimesteps(timesteps: number[], numTrainTimesteps: number): number[] {
  const isDescending = timesteps.every((timestep, index) => index === 0 || timestep < timesteps[index - 1]!);
  if (!isDescending || timesteps.some((timestep) => timestep < 0 || timestep >= numTrainTimesteps)) {
    throw new UserError(
      `Cannot space the steps: they must fit into ${numTrainTimesteps} training timesteps, got ${timesteps.length}`,
    );
  }
  return timesteps;
}
