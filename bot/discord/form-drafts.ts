/** What a form on somebody's screen does not carry itself: kept in files, so that a restart in between loses nothing. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { blobRefSchema } from '../../shared/jobs.ts';

const attachedFileSchema = z.object({ url: z.string(), name: z.string(), size: z.number() });

const draftSchema = z.object({
  command: z.string(),
  title: z.string(),
  /** Options that are known, whether shown or not. */
  options: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  /** Names of the options that the form shows. */
  shown: z.array(z.string()),
  /** Images that are in the store already, by option name. */
  images: z.record(z.string(), z.array(blobRefSchema)),
  /** Images that are still Discord's, by option name. */
  attachments: z.record(z.string(), z.array(attachedFileSchema)),
  parentJobId: z.string().optional(),
});
export type FormDraft = z.infer<typeof draftSchema>;

export interface FormDrafts {
  /** @returns the name to read it by */
  keep(draft: FormDraft): Promise<string>;
  /** Undefined when there is none, or it is too old. */
  read(id: string): Promise<FormDraft | undefined>;
}

/** Discord keeps a form open for less; the addresses of attachments are good for a day. */
const LIFETIME_MS = 24 * 60 * 60 * 1000;

/** @param folder  is made when it is first needed */
export function createFormDrafts(folder: string): FormDrafts {
  return {
    keep: async (draft) => {
      const id = randomBytes(12).toString('hex');
      await mkdir(folder, { recursive: true });
      await removeOld(folder);
      await writeFile(join(folder, `${id}.json`), JSON.stringify(draft));
      return id;
    },
    read: async (id) => {
      if (!/^[0-9a-f]{24}$/.test(id)) return undefined;
      const text = await readFile(join(folder, `${id}.json`), 'utf8').catch(absent);
      return text === undefined ? undefined : draftSchema.parse(JSON.parse(text));
    },
  };
}

async function removeOld(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const changedMs = (await stat(path).catch(absent))?.mtimeMs ?? 0;
    if (changedMs < Date.now() - LIFETIME_MS) await rm(path, { force: true });
  }
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
