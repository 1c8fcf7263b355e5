import { join } from 'node:path';
import { loadConfig } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';
import { POCKET_FOLDER } from '../pocket/folder.ts';
import { makePart, PART_NAMES } from '../pocket/making/parts.ts';
import { chooseDevice, DEVICE_NAMES } from '../runtime/device.ts';
import type { LessonProgress } from '../training/lesson-loop.ts';
import { readFlags } from './read-flags.ts';
import { runCommand } from './run-command.ts';

const USAGE = `Usage: npm run pocket:train -- [--part NAME] [--minutes N] [--out FOLDER]
  Makes the pocket family from nothing, each part going on from its newest checkpoint.
  --part             ${PART_NAMES.join(', ')};
                     all of them by default
  --minutes          time for each part; one that is not done then is saved as far as it is, and can go on (no limit)
  --max-train-steps  optimizer steps of a part in place of its own
  --learning-rate    highest learning rate in place of the part's own
  --from-saved       starts a part from the weights in --out instead of from nothing, with fresh moments, to make it better
  --seed             of weights, pictures and noise (1)
  --out              folder of the family (${POCKET_FOLDER})
  --work             folder of checkpoints and cached latents (DATA_DIR/pocket-making)
  --device           auto, cpu, webgpu or cuda (auto)
  --threads          of the CPU; all cores by default`;

async function main(args: string[]): Promise<void> {
  const flags = parseFlags(args);
  const number = (name: 'minutes' | 'max-train-steps' | 'learning-rate' | 'seed' | 'threads') => {
    return parseNumber(name, flags[name]);
  };
  const names = flags.part === undefined ? PART_NAMES : [flags.part];
  const unknown = names.find((name) => !PART_NAMES.includes(name));
  if (unknown !== undefined) {
    throw new UserError(`Cannot train: --part must be one of ${PART_NAMES.join(', ')}, got ${unknown}`);
  }
  const chosen = DEVICE_NAMES.find((known) => known === flags.device);
  if (chosen === undefined)
    throw new UserError(`Cannot train: --device must be one of ${DEVICE_NAMES}, got ${flags.device}`);
  const { device, reason } = await chooseDevice(chosen);
  console.error(`Device ${reason}`);
  const threads = number('threads');
  for (const name of names) {
    console.error(`Part ${name}`);
    const steps = await makePart(name, {
      folder: flags.out,
      workFolder: flags.work ?? join(loadConfig().dataDir, 'pocket-making'),
      seed: number('seed') ?? 1,
      minutes: number('minutes'),
      steps: number('max-train-steps'),
      learningRate: number('learning-rate'),
      goesOn: flags['from-saved'],
      session: { device, ...(threads !== undefined && { threads }) },
      onMessage: (message) => console.error(message),
      onProgress: progressReport(),
    });
    console.log(`Part ${name}: ${steps} steps`);
  }
}

const REPORT_EVERY_MS = 15_000;

/** A line now and then: a making is watched in a log more often than at a terminal. */
function progressReport(): (progress: LessonProgress) => void {
  const started = performance.now();
  let [reported, losses] = [started, [] as number[]];
  return ({ step, maxTrainSteps, learningRate, reports, secondsPerStep }) => {
    losses.push(...reports.map(({ loss }) => loss));
    if (performance.now() - reported < REPORT_EVERY_MS && step < maxTrainSteps) return;
    const loss = losses.reduce((sum, value) => sum + value, 0) / losses.length;
    const minutes = (performance.now() - started) / 60_000;
    console.error(
      `${minutes.toFixed(1)} min, step ${step} of ${maxTrainSteps}: loss ${loss.toFixed(4)}, rate ${learningRate.toExponential(1)}, ` +
        `${secondsPerStep.toFixed(3)} s per step`,
    );
    [reported, losses] = [performance.now(), []];
  };
}

function parseNumber(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value >= 0)) throw new UserError(`Cannot train: --${flag} must be a number of 0 or more, got ${text}`);
  return value;
}

function parseFlags(args: string[]) {
  const text = { type: 'string' } as const;
  const options = {
    part: text,
    minutes: text,
    'max-train-steps': text,
    'learning-rate': text,
    'from-saved': { type: 'boolean', default: false },
    seed: text,
    out: { ...text, default: POCKET_FOLDER },
    work: text,
    device: { ...text, default: 'auto' },
    threads: text,
  } as const;
  return readFlags(args, options, USAGE);
}

await runCommand(main);
