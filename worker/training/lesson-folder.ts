/** The folder that a lesson's result goes to, and what a lesson keeps beside its result. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { UserError } from '../../shared/errors.ts';

/** Names in a lesson's folder that are not of the result. */
export const LESSON_FILES = {
  /** What happened at every step; see LessonJournal. */
  journal: 'lesson.jsonl',
  curve: 'loss.svg',
  /** Folder of the sample pictures. */
  samples: 'samples',
  /** Written last: a lesson whose folder has it is done. */
  report: 'lesson.json',
} as const;
const NAMES: readonly string[] = Object.values(LESSON_FILES);

/** Checkpoints lie beside the folder: they are large, and of no use to whoever is given the result. */
export function checkpointFolderOf(out: string): string {
  return `${out}.checkpoints`;
}

/** @param index  which of the pictures of this step, from 0 */
export function samplePath(step: number, index: number): string {
  return join(LESSON_FILES.samples, `step-${String(step).padStart(6, '0')}-${index}.png`);
}

/**
 * Makes a lesson's folder ready, so that a lesson of hours does not end with the discovery that it cannot be saved. A
 * lesson that starts anew removes what one that was killed has written down.
 * @throws UserError if the folder holds anything else, or the result of a lesson that is done
 */
export async function openLessonFolder(out: string, { isResumed }: { isResumed: boolean }): Promise<void> {
  const found = await listFolder(out);
  if (found.includes(LESSON_FILES.report)) {
    throw new UserError(`Cannot save to ${out}: the folder must be empty, got a lesson that is done`);
  }
  const others = found.filter((name) => !NAMES.includes(name) && !isPartial(name));
  if (!isResumed && others.length > 0) {
    throw new UserError(`Cannot save to ${out}: the folder must be empty, got ${others.length} entries`);
  }
  await mkdir(out, { recursive: true });
  const stale = found.filter((name) => isPartial(name) || (!isResumed && NAMES.includes(name)));
  for (const name of stale) await rm(join(out, name), { recursive: true });
}

/** Lists a folder; one that does not exist is empty. */
export async function listFolder(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOTDIR') throw new UserError(`Cannot save to ${folder}: it must be a folder, got a file`);
    if (error.code !== 'ENOENT') throw error;
    return [];
  });
}

const PARTIAL = /^\.?(lesson|loss|step|pytorch_lora_weights|learned_embeds)[\w.-]*\.partial$/;
const isPartial = (name: string) => PARTIAL.test(name);

/** Writes a small file that is there whole or not at all. */
export async function writeWhole(file: string, content: string | Uint8Array): Promise<void> {
  const partial = join(file, '..', `${basename(file)}.${randomUUID()}.partial`);
  await writeFile(partial, content, { flush: true });
  await rename(partial, file);
}
