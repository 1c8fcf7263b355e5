import { join } from 'node:path';
import { loadConfig } from '../../shared/config.ts';
import { judgeLesson } from '../pocket/judges/judge-lesson.ts';
import { readerLesson } from '../pocket/judges/reader-lesson.ts';
import { type JudgeName, judgeFile, trainJudge } from '../pocket/judges/weights.ts';
import type { LessonProgress } from '../training/lesson-loop.ts';
import { runCommand } from './run-command.ts';

/** Enough for 97 % of drawn pictures; about ten minutes on one idle core. */
const LESSONS = [
  ['picture-judge', judgeLesson, 1600],
  ['map-reader', readerLesson, 700],
] as const;

/** Teaches the judges of the evaluation on drawn pictures and writes their weights. */
async function main(): Promise<void> {
  const workFolder = join(loadConfig().dataDir, 'pocket-judges');
  for (const [name, describe, steps] of LESSONS) {
    const session = { device: 'cpu', threads: 1 } as const;
    await trainJudge(name, describe(steps), { session, workFolder, onProgress: report(name) });
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
