import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadConfig } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';
import { type EvaluationOptions, evaluatePart } from '../pocket/evaluation/evaluate.ts';
import { type EvaluationPart, PARTS, savePart, writePage } from '../pocket/evaluation/page.ts';
import { POCKET_FOLDER } from '../pocket/folder.ts';
import { openCritic } from '../pocket/judges/critic.ts';
import { chooseDevice, DEVICE_NAMES } from '../runtime/device.ts';
import { runCommand } from './run-command.ts';

const USAGE = `Usage: npm run pocket:evaluate -- [--samples N] [--only PART,PART]
  Measures the pocket family and writes worker/pocket/evaluation.md with its pictures.
  --samples  pictures for each number (200); lessons take a quarter of it
  --only     ${PARTS.join(', ')}; all of them by default, the page keeps what others found
  --family   folder of the family (${POCKET_FOLDER})
  --out      folder of the page and of evaluation-results (${POCKET_FOLDER})
  --device   auto, cpu, webgpu or cuda (auto)
  --threads  of the CPU; all cores by default`;

async function main(args: string[]): Promise<void> {
  const flags = parseFlags(args);
  const { device, reason } = await chooseDevice(oneOf(DEVICE_NAMES, flags.device, '--device'));
  console.error(`Device ${reason}`);
  const threads = flags.threads === undefined ? {} : { threads: count('--threads', flags.threads) };
  const session = { device, ...threads };
  const critic = await openCritic(session);
  const options: EvaluationOptions = {
    family: flags.family,
    samples: count('--samples', flags.samples),
    workFolder: join(loadConfig().dataDir, 'pocket-evaluation'),
    session,
    critic,
  };
  const results = join(flags.out, RESULTS);
  try {
    for (const part of partsOf(flags.only)) {
      const started = performance.now();
      const findings = await evaluatePart(part, options);
      await savePart(results, part, findings);
      await writePage(join(flags.out, 'evaluation.md'), results, { images: RESULTS });
      for (const { name, goal, seen, verdict } of findings.measures)
        console.log(`${verdict}: ${name}: ${seen} (goal ${goal})`);
      console.error(`Part ${part} took ${((performance.now() - started) / 60_000).toFixed(1)} minutes`);
    }
  } finally {
    await critic.dispose();
  }
}

const RESULTS = 'evaluation-results';

function partsOf(only: string | undefined): readonly EvaluationPart[] {
  return only === undefined ? PARTS : only.split(',').map((part) => oneOf(PARTS, part, '--only'));
}

function oneOf<T extends string>(known: readonly T[], text: string, flag: string): T {
  const found = known.find((one) => one === text);
  if (found === undefined)
    throw new UserError(`Cannot evaluate: ${flag} must be one of ${known.join(', ')}, got ${text}`);
  return found;
}

function count(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new UserError(`Cannot evaluate: ${flag} must be a whole number above 0, got ${text}`);
  return value;
}

function parseFlags(args: string[]) {
  const text = { type: 'string' } as const;
  const options = {
    samples: { ...text, default: '200' },
    only: text,
    family: { ...text, default: POCKET_FOLDER },
    out: { ...text, default: POCKET_FOLDER },
    device: { ...text, default: 'auto' },
    threads: text,
  } as const;
  try {
    return parseArgs({ args, options }).values;
  } catch (error) {
    throw new UserError(`${error instanceof Error ? error.message : error}\n${USAGE}`, { cause: error });
  }
}

await runCommand(main);
