import { join } from 'node:path';
import { loadConfig } from '../../shared/config.ts';
import { openModelFolder } from '../diffusion/model-folder.ts';
import { resolveModel } from '../models/registry.ts';
import { train } from '../pipelines/train.ts';
import type { TrainRequest } from '../pipelines/train-request.ts';
import { saveCheckpointAs, seedOfLesson } from '../pipelines/use-checkpoint.ts';
import { chooseDevice } from '../runtime/device.ts';
import { randomSeed } from '../runtime/random.ts';
import { completeSettings } from '../training/complete-settings.ts';
import { traitsOf } from '../training/default-settings.ts';
import type { LessonReport } from '../training/lesson-report.ts';
import { parseCheckpointFlags } from './checkpoint-flags.ts';
import { LessonProgressLine } from './lesson-progress.ts';
import { runCommand } from './run-command.ts';
import { flagsOf, parseTrainFlags } from './train-flags.ts';

async function main(args: string[]): Promise<void> {
  const checkpoint = parseCheckpointFlags(args);
  if (checkpoint) {
    console.log(await saveCheckpointAs(checkpoint));
    return;
  }
  const flags = parseTrainFlags(args);
  const config = loadConfig();
  const folder = await resolveModel(flags.model, config);
  const model = await openModelFolder(folder);
  const settings = completeSettings(flags.settings, traitsOf(model));
  const { device, reason } = await chooseDevice(flags.device);
  const seed = settings.seed ?? (flags.isResumed ? await seedOfLesson(flags.out) : undefined) ?? randomSeed();
  console.error(`Model ${folder}\nDevice ${reason}\nSeed ${seed}`);
  const progress = new LessonProgressLine(process.stderr);
  const report = await trainWithProgress(progress, {
    ...flags,
    model,
    settings,
    seed,
    classImageCache: join(config.dataDir, 'class-images'),
    session: { device, ...(flags.threads !== undefined && { threads: flags.threads }) },
    pause: pauseOnInterrupt(progress),
    choices: { say: flagsOf, otherwise: 'no smaller batch or resolution would fit' },
    onMessage: (message) => progress.message(message),
  });
  printReport(flags.out, report);
}

async function trainWithProgress(progress: LessonProgressLine, request: TrainRequest): Promise<LessonReport> {
  const loop = train(request);
  try {
    for (let next = await loop.next(); ; next = await loop.next()) {
      if (next.done) return next.value;
      progress.update(next.value);
    }
  } finally {
    progress.stop();
  }
}

/** The first Ctrl-C ends the lesson when the run under way is done; a second one ends the process at once. */
function pauseOnInterrupt(progress: LessonProgressLine): AbortSignal {
  const pause = new AbortController();
  process.once('SIGINT', () => {
    progress.message('Stopping after this run of the device; once more stops at once');
    pause.abort();
  });
  return pause.signal;
}

function printReport(out: string, { result, step, settings, loss, drift, likeness }: LessonReport): void {
  if (loss) console.error(`Loss ${loss.first.toPrecision(3)} at first, ${loss.last.toPrecision(3)} at the end`);
  if (drift) console.error(`Drift ${drift.after.toPrecision(2)} %: plain class pictures moved so far`);
  if (likeness) console.error(describeLikeness(likeness));
  if (result !== undefined) {
    console.log(result);
    return;
  }
  process.exitCode = INTERRUPTED;
  if (step === 0) {
    console.error('Stopped before a step was taken');
    return;
  }
  console.error(
    `Stopped after ${step} of ${settings.maxTrainSteps} steps. To go on, give the same command with --resume-from-checkpoint latest; ` +
      `to take what was learned so far: npm run train -- --from-checkpoint latest --out ${out}`,
  );
}

function describeLikeness({ before, after, ofPhotos }: NonNullable<LessonReport['likeness']>): string {
  const most = ofPhotos === undefined ? '' : `; the photos have ${ofPhotos.toFixed(2)} among themselves`;
  return `Likeness ${after.toFixed(2)}, ${before.toFixed(2)} at first${most}`;
}

/** What shells give for a command that Ctrl-C ended. */
const INTERRUPTED = 130;

await runCommand(main);
