import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Lists the files of a folder that are named after a step, the newest first; none where there is no folder.
 * @param name  its first group is the step's digits
 */
export async function listStepFiles(folder: string, name: RegExp): Promise<{ step: number; file: string }[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names
    .flatMap((entry) => {
      const digits = name.exec(entry)?.[1];
      return digits === undefined ? [] : [{ step: Number(digits), file: join(folder, entry) }];
    })
    .sort((a, b) => b.step - a.step);
}
