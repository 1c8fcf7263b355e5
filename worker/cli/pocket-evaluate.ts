import { join } from 'node:path';
import { loadConfig } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';
import { EXHIBITED } from '../pocket/evaluation/adherence.ts';
import {
  type EvaluationOptions,
  evaluatePart,
  LESSON_SUBJECTS,
  MEASURED_PARTS,
  type MeasuredPart,
  seenByEyes,
} from '../pocket/evaluation/evaluate.ts';
import { openBench } from '../pocket/evaluation/lesson-bench.ts';
import { savePart, writePage } from '../pocket/evaluation/page.ts';
import { POCKET_FOLDER } from '../pocket/folder.ts';
import { openCritic } from '../pocket/judges/critic.ts';
import { SUBJECTS } from '../pocket/renderer/subjects.ts';
import { chooseDevice, DEVICE_NAMES } from '../runtime/device.ts';
import { readFlags } from './read-flags.ts';
import { runCommand } from './run-command.ts';

const USAGE = `Usage: npm run pocket:evaluate -- [--samples N] [--only PART,PART]
  Measures the pocket family and writes worker/pocket/evaluation.md with its pictures.
  --samples  pictures for each number (200), divided among the subjects of lessons
  --only     ${MEASURED_PARTS.join(', ')}; all of them by default, the page keeps what others found
  --not-clean  says that so many of the page's first 64 pictures are not clean, and measures nothing
  --subjects  of lessons (${LESSON_SUBJECTS}); the first two where lessons are compared
  --family   folder of the family (${POCKET_FOLDER})
  --out      folder of the page and of evaluation-results (${POCKET_FOLDER})
  --device   auto, cpu, webgpu or cuda (auto)
  --threads  of the CPU; all cores by default`;

async function main(args: string[]): Promise<void> {
  const flags = parseFlags(args);
  const results = join(flags.out, RESULTS);
  const page = () => writePage(join(flags.out, 'evaluation.md'), results, { images: RESULTS });
  if (flags['not-clean'] !== undefined) {
    await savePart(
      results,
      'eyes',
      seenByEyes({ notClean: count('--not-clean', flags['not-clean'], 0), of: EXHIBITED }),
    );
    return page();
  }
  const { device, reason } = await chooseDevice(oneOf(DEVICE_NAMES, flags.device, '--device'));
  console.error(`Device ${reason}`);
  const threads = flags.threads === undefined ? {} : { threads: count('--threads', flags.threads) };
  const session = { device, ...threads };
  const critic = await openCritic(session);
  const { family } = flags;
  const workFolder = join(loadConfig().dataDir, 'pocket-evaluation');
  const options: EvaluationOptions = {
    family,
    samples: count('--samples', flags.samples),
    subjects: flags.subjects?.split(',').map((name) => oneOf(SUBJECTS, name, '--subjects')) ?? LESSON_SUBJECTS,
    session,
    critic,
    bench: openBench({ family, workFolder, session, critic }),
  };
  try {
    for (const part of partsOf(flags.only)) {
      const started = performance.now();
      const findings = await evaluatePart(part, options);
      await savePart(results, part, findings);
      await page();
      for (const { name, goal, seen, verdict } of findings.measures)
        console.log(`${verdict}: ${name}: ${seen} (goal ${goal})`);
      console.error(`Part ${part} took ${((performance.now() - started) / 60_000).toFixed(1)} minutes`);
    }
  } finally {
    await critic.dispose();
  }
}

const RESULTS = 'evaluation-results';

function partsOf(only: string | undefined): readonly MeasuredPart[] {
  return only === undefined ? MEASURED_PARTS : only.split(',').map((part) => oneOf(MEASURED_PARTS, part, '--only'));
}

function oneOf<T extends string>(known: readonly T[], text: string, flag: string): T {
  const found = known.find((one) => one === text);
  if (found === undefined)
    throw new UserError(`Cannot evaluate: ${flag} must be one of ${known.join(', ')}, got ${text}`);
  return found;
}

function count(flag: string, text: string, least = 1): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least)
    throw new UserError(`Cannot evaluate: ${flag} must be a whole number of at least ${least}, got ${text}`);
  return value;
}

function parseFlags(args: string[]) {
  const text = { type: 'string' } as const;
  const options = {
    samples: { ...text, default: '200' },
    only: text,
    'not-clean': text,
    subjects: text,
    family: { ...text, default: POCKET_FOLDER },
    out: { ...text, default: POCKET_FOLDER },
    device: { ...text, default: 'auto' },
    threads: text,
  } as const;
  return readFlags(args, options, USAGE);
}

await runCommand(main);
