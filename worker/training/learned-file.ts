/** `learned-<step>.safetensors`: what a lesson had learned when it was looked at, so that any sample picture can be gone back to. */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import type { StoredParameter } from '../graph/lowering.ts';
import type { Checkpoint } from '../runtime/checkpoint.ts';
import { readSafetensorsHeader, type StoredTensor, saveSafetensors } from '../runtime/safetensors.ts';
import { type LessonIdentity, lessonIdentitySchema } from './lesson-identity.ts';
import { listStepFiles } from './step-files.ts';
import type { TrainedTensors } from './trained-tensors.ts';

/** Tensors that learn, as they were after a step, by the lesson's names. */
export interface LearnedFile {
  readonly step: number;
  readonly file: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly identity: LessonIdentity;
}

/** The newest files are kept up to so many bytes, and two of them whatever their size. */
const KEPT_BYTES = 2 ** 30;
const KEPT_COUNT = 2;
const NAME = /^learned-(\d+)\.safetensors$/;
const PARTIAL = /^learned-\d+\.safetensors\.[\w-]+\.partial$/;

/** Writes the file of a step, whole or not at all, and removes old ones beyond a GiB in all. */
export async function saveLearned(
  folder: string,
  { step, tensors, identity }: { step: number; tensors: TrainedTensors; identity: LessonIdentity },
): Promise<LearnedFile> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, `learned-${String(step).padStart(9, '0')}.safetensors`);
  const entries = [...tensors].map(([name, tensor]) => [name, { dtype: 'F32', ...tensor }] as const);
  await saveSafetensors(file, entries, { identity: JSON.stringify(identity) });
  await removeSurplus(folder);
  return openLearned(file);
}

async function removeSurplus(folder: string): Promise<void> {
  for (const name of await readdir(folder)) if (PARTIAL.test(name)) await rm(join(folder, name));
  let sum = 0;
  for (const [i, { file }] of (await listLearned(folder)).entries()) {
    sum += (await stat(file)).size;
    if (i >= KEPT_COUNT && sum > KEPT_BYTES) await rm(file);
  }
}

/** Lists the files of a folder, the newest step first. */
export function listLearned(folder: string): Promise<{ step: number; file: string }[]> {
  return listStepFiles(folder, NAME);
}

/** Removes the files of steps after `step`, which are taken again; all of them before a lesson that starts anew. */
export async function removeLearned(folder: string, { after }: { after: number }): Promise<void> {
  for (const { step, file } of await listLearned(folder)) if (step > after) await rm(file);
}

const metadataSchema = z.object({ identity: z.string() });

/** @throws UserError if the file does not say which lesson it belongs to */
export async function openLearned(path: string): Promise<LearnedFile> {
  const { file, tensors, metadata } = await readSafetensorsHeader(path);
  const parsed = metadataSchema.safeParse(metadata);
  const step = NAME.exec(file.split(/[\\/]/).at(-1)!)?.[1];
  if (!parsed.success || step === undefined) {
    throw new UserError(`Cannot use ${resolve(file)}: it must be a file that a lesson wrote when it was looked at`);
  }
  return { step: Number(step), file, tensors, identity: lessonIdentitySchema.parse(JSON.parse(parsed.data.identity)) };
}

/**
 * Puts learned tensors in the place of a network's own, where they lie on the disk.
 * @param learnedName  what the lesson calls a tensor of the network; its own name by default
 */
export function withLearned(
  checkpoint: Checkpoint,
  { tensors }: LearnedFile,
  learnedName = (name: string) => name,
): Checkpoint {
  const parameters = new Map(checkpoint.parameters);
  for (const name of parameters.keys()) {
    const stored = tensors.get(learnedName(name));
    if (stored) parameters.set(name, asParameter(stored));
  }
  return { ...checkpoint, parameters };
}

/** A network that consists of learned tensors alone. */
export function learnedCheckpoint({ file, tensors }: LearnedFile): Checkpoint {
  return { folder: file, parameters: new Map([...tensors].map(([name, stored]) => [name, asParameter(stored)])) };
}

function asParameter({ file, offset, sizeBytes }: StoredTensor): StoredParameter {
  return { dtype: 'F32', file, offset, sizeBytes };
}
