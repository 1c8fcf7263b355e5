/** Taught subjects in a picture: the words that stand for them and the weights that know them. */
import { existsSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { AppliedConcept, BlobRef, PictureJob } from '../../shared/jobs.ts';
import { wholeWords } from '../../shared/whole-words.ts';
import type { PictureRequest } from '../diffusion/stable-diffusion.ts';
import { loadTextualInversionFile } from '../diffusion/textual-inversion-file.ts';
import { conceptFolder, type JobContext } from './job-context.ts';

/** The prompt with each concept's name replaced by what stands for it, longest names first. */
export function promptWith(prompt: string, concepts: readonly Pick<AppliedConcept, 'name' | 'promptText'>[]): string {
  const longestFirst = concepts.toSorted((a, b) => b.name.length - a.name.length);
  // Placeholders keep a name from being found again in what another was replaced by.
  const marked = longestFirst.reduce((text, { name }, i) => text.replace(wholeWords(name), `\u0000${i}\u0000`), prompt);
  return longestFirst.reduce(
    (text, { promptText }, i) => text.replaceAll(`\u0000${i}\u0000`, () => promptText),
    marked,
  );
}

export interface PreparedConcepts {
  /** Folder of the model that a concept replaces the job's by. */
  readonly modelFolder: string | undefined;
  readonly request: Pick<PictureRequest, 'prompt' | 'loras' | 'embeddings'>;
}

/** Brings the weights of a job's concepts onto this machine. */
export async function prepareConcepts(job: PictureJob, context: JobContext): Promise<PreparedConcepts> {
  const folders = await Promise.all(job.concepts.map((concept) => localFiles(concept, context)));
  const used = job.concepts.map((concept, i) => ({ ...concept, folder: folders[i]! }));
  const files = (kind: AppliedConcept['kind']) =>
    used
      .filter((concept) => concept.kind === kind)
      .flatMap(({ files: own, folder, scale }) =>
        Object.keys(own).map((path) => ({ file: join(folder, path), scale })),
      );
  return {
    modelFolder: used.find(({ kind }) => kind === 'model')?.folder,
    request: {
      prompt: promptWith(job.prompt, job.concepts),
      loras: files('lora'),
      embeddings: await Promise.all(files('embedding').map(({ file }) => loadTextualInversionFile(file))),
    },
  };
}

/** The files of a concept in a folder named by their hashes; what is there already is not fetched again. */
async function localFiles({ conceptId, files }: AppliedConcept, { config, store }: JobContext): Promise<string> {
  const folder = conceptFolder(config, conceptId);
  for (const [path, blob] of Object.entries(files)) await fetchFile(join(folder, safePath(path)), blob, store);
  return folder;
}

async function fetchFile(file: string, blob: BlobRef, store: JobContext['store']): Promise<void> {
  // A concept that was taught again has another id, so a file of a concept never changes.
  if (existsSync(file)) return;
  await mkdir(dirname(file), { recursive: true });
  const unfinished = `${file}.${process.pid}.partial`;
  await writeFile(unfinished, await store.get(blob));
  await rename(unfinished, file);
}

function safePath(path: string): string {
  if (!path.split('/').every((part) => /^[\w-][\w.-]*$/.test(part))) {
    throw new Error(`Cannot use the concept: its files must have plain paths, got ${path}`);
  }
  return path;
}
