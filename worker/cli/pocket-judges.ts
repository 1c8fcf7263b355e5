import { join } from 'node:path';
import { loadConfig } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';
import { judgeLesson } from '../pocket/judges/judge-lesson.ts';
import { readerLesson } from '../pocket/judges/reader-lesson.ts';
import { type JudgeName, judgeFile, trainJudge } from '../pocket/judges/weights.ts';
import type { Weights } from '../pocket/making/run-part.ts';
import type { LessonProgress } from '../training/lesson-loop.ts';
import { readFlags } from './read-flags.ts';
import { runCommand } from './run-command.ts';

/** A judge's rounds, each on scenes of its own. */
const ROUNDS = {
  'picture-judge': [
    { steps: 4000, learningRate: 3e-3, firstScene: 0 },
    { steps: 1400, learningRate: 2e-3, firstScene: 100_000 },
    { steps: 900, learningRate: 1.2e-3, firstScene: 200_000 },
  ],
  'map-reader': [
    { steps: 700, learningRate: 4e-3, firstScene: 0 },
    { steps: 400, learningRate: 2e-3, firstScene: 100_000 },
    { steps: 900, learningRate: 2e-3, firstScene: 200_000 },
    { steps: 1200, learningRate: 2e-3, firstScene: 300_000 },
    { steps: 2500, learningRate: 3e-3, firstScene: 400_000 },
  ],
} as const;
const LESSONS = { 'picture-judge': judgeLesson, 'map-reader': readerLesson } as const;
const NAMES: readonly JudgeName[] = ['picture-judge', 'map-reader'];

const USAGE = `Usage: npm run pocket:judges -- [--only NAME] [--last-round]
  Teaches the judges of the evaluation on drawn pictures and writes their weights, going on from the newest checkpoint.
  --only        ${NAMES.join(', ')}; both by default
  --last-round  takes only the last round, from the weights that are saved`;

async function main(args: string[]): Promise<void> {
  const flags = readFlags(args, { only: { type: 'string' }, 'last-round': { type: 'boolean', default: false } }, USAGE);
  const goesOn = flags['last-round'];
  const workFolder = join(loadConfig().dataDir, 'pocket-judges');
  const session = { device: 'cpu', threads: 1 } as const;
  for (const name of namesOf(flags.only)) {
    const rounds = ROUNDS[name].slice(goesOn ? -1 : 0);
    const lessons = rounds.map((round) => (start: Weights | undefined) => LESSONS[name]({ ...round, start }));
    await trainJudge(name, lessons, { goesOn, session, workFolder, onProgress: report(name) });
    console.log(judgeFile(name));
  }
}

function namesOf(only: string | undefined): readonly JudgeName[] {
  const names = NAMES.filter((name) => only === undefined || name === only);
  if (names.length > 0) return names;
  throw new UserError(`Cannot teach the judges: --only must be one of ${NAMES.join(', ')}, got ${only}`);
}

const REPORT_EVERY = 50;

function report(name: JudgeName): (progress: LessonProgress) => void {
  let reported = 0;
  return ({ step, maxTrainSteps, reports, secondsPerStep }) => {
    if (step - reported < REPORT_EVERY) return;
    reported = step;
    console.error(
      `${name}: step ${step} of ${maxTrainSteps}, loss ${reports.at(-1)?.loss.toFixed(3)}, ${secondsPerStep.toFixed(2)} s per step`,
    );
  };
}

await runCommand(main);
