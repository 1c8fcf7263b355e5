import { karrasSigmas, sigmaAt, sigmaTable, timestepAt } from './noise-schedule.ts';
import type { SigmaSchedule } from './noising.ts';
import type { SolverSettings } from './scheduler-config.ts';
import { multistepTimesteps, roundHalfToEven, type Span } from './timestep-spacing.ts';

/** Schedule of DPM-Solver++ and UniPC: Karras spacing spans the whole table, whatever the timestep spacing. */
export function multistepSchedule(
  settings: SolverSettings,
  span: Span,
  roundTimestep: (timestep: number) => number = roundHalfToEven,
): SigmaSchedule {
  const table = sigmaTable(settings);
  if (settings.useKarrasSigmas) {
    const karras = karrasSigmas(table[table.length - 1]!, table[0]!, span.numInferenceSteps);
    return {
      timesteps: Array.from(karras, (sigma) => roundTimestep(timestepAt(table, sigma))),
      sigmas: Float32Array.of(...karras, 0),
    };
  }
  const timesteps = multistepTimesteps(settings, span);
  return { timesteps, sigmas: Float32Array.of(...timesteps.map((timestep) => sigmaAt(table, timestep)), 0) };
}

/** Half the logarithm of the signal-to-noise ratio: λ = ln(√ᾱ / √(1 - ᾱ)); infinite at sigma 0. */
export function lambdaOfSigma(sigma: number): number {
  return -Math.log(sigma);
}
