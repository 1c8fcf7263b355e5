import { join } from 'node:path';
import { loadConfig } from '../../shared/config.ts';
import { judgeLesson } from '../pocket/judges/judge-lesson.ts';
import { readerLesson } from '../pocket/judges/reader-lesson.ts';
import { type JudgeName, judgeFile, trainJudge } from '../pocket/judges/weights.ts';
import type { Weights } from '../pocket/making/run-part.ts';
import type { LessonProgress } from '../training/lesson-loop.ts';
import { runCommand } from './run-command.ts';

/** A judge's rounds: enough for 97 % of drawn pictures, in about ten minutes on an idle core. */
const ROUNDS = {
  'picture-judge': [
    { steps: 1600, learningRate: 3e-3, firstScene: 0 },
    { steps: 1300, learningRate: 2e-3, firstScene: 100_000 },
  ],
  'map-reader': [
    { steps: 700, learningRate: 4e-3, firstScene: 0 },
    { steps: 400, learningRate: 2e-3, firstScene: 100_000 },
  ],
} as const;
const LESSONS = { 'picture-judge': judgeLesson, 'map-reader': readerLesson } as const;
const NAMES: readonly JudgeName[] = ['picture-judge', 'map-reader'];

/** Teaches the judges of the evaluation on drawn pictures and writes their weights. */
async function main(): Promise<void> {
  const workFolder = join(loadConfig().dataDir, 'pocket-judges');
  const session = { device: 'cpu', threads: 1 } as const;
  for (const name of NAMES) {
    const rounds = ROUNDS[name].map((round) => (start: Weights | undefined) => LESSONS[name]({ ...round, start }));
    await trainJudge(name, rounds, { session, workFolder, onProgress: report(name) });
    console.log(judgeFile(name));
  }
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
