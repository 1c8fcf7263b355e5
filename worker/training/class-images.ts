import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import { decodePicture } from '../diffusion/picture.ts';

export interface ClassImageOptions {
  /** Holds a folder per model, and in it one per prompt and size. */
  readonly cacheFolder: string;
  /** From `modelKey`; whatever else changes the pictures, such as steps and guidanceScale, must be part of it. */
  readonly modelKey: string;
  readonly classPrompt: string;
  /** 100 to 300 are usual. */
  readonly count: number;
  /** Side of the square pictures in pixels. */
  readonly resolution: number;
  /** Generates the picture of a seed with the frozen model, as the bytes of a PNG. */
  readonly make: (seed: number) => Promise<Uint8Array>;
}

export interface ClassImageProgress {
  readonly made: number;
  readonly missing: number;
}

/** Far from the small seeds of sample pictures, so that drift is not measured on pictures that were trained on. */
const FIRST_SEED = 2 ** 31;
/** A file under its temporary name is written within seconds; an older one was left by a run that was killed. */
const ABANDONED_AFTER_MS = 3_600_000;
const PARTIAL = '.part';

/**
 * Lists pictures of the class for prior preservation, one per seed, and makes those that the cache lacks or has damaged,
 * yielding after each. A run that is killed, or that nobody asks on, continues where it stopped; several may fill one cache
 * at a time.
 * @returns `count` paths of PNG files in the order of their seeds
 * @throws what `make` throws; Error if it makes a picture of another size
 * @see DreamBooth (arXiv 2208.12242), section 3.3
 */
export async function* ensureClassImages(
  options: ClassImageOptions,
): AsyncGenerator<ClassImageProgress, readonly string[]> {
  const { count, make, resolution } = options;
  const folder = classFolder(options);
  await mkdir(folder, { recursive: true });
  await removeAbandoned(folder);
  const images = Array.from({ length: count }, (_, index) => imageOfSeed(folder, FIRST_SEED + index));
  const missing: ClassImage[] = [];
  for (const image of images) {
    if (!(await isIntact(image.file, resolution))) missing.push(image);
  }
  for (const [index, { file, seed }] of missing.entries()) {
    await saveWhole(file, await checkedPng(await make(seed), { seed, resolution }));
    yield { made: index + 1, missing: missing.length };
  }
  return images.map(({ file }) => file);
}

interface ClassImage {
  readonly seed: number;
  readonly file: string;
}

function imageOfSeed(folder: string, seed: number): ClassImage {
  return { seed, file: join(folder, `${seed}.png`) };
}

/** The prompt's words are for people who look into the cache; its hash tells prompts apart. */
function classFolder({ cacheFolder, modelKey, classPrompt, resolution }: ClassImageOptions): string {
  const words = classPrompt.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  const hash = createHash('sha256').update(classPrompt).digest('hex');
  return join(cacheFolder, modelKey, `${words.slice(0, 40)}-${hash.slice(0, 8)}-${resolution}`);
}

async function removeAbandoned(folder: string): Promise<void> {
  const partials = (await readdir(folder)).filter((name) => name.endsWith(PARTIAL));
  for (const file of partials.map((name) => join(folder, name))) {
    // Another run may finish its file in between.
    const found = await stat(file).catch(ignoreAbsence);
    if (found !== undefined && Date.now() - found.mtimeMs > ABANDONED_AFTER_MS) await rm(file, { force: true });
  }
}

/** Decodes the file to the end: a machine that lost power may have renamed it before its content was on the disk. */
async function isIntact(file: string, resolution: number): Promise<boolean> {
  const png = await readFile(file).catch(ignoreAbsence);
  if (png === undefined || png.length === 0) return false;
  try {
    const { width, height } = await decodePicture(png);
    return width === resolution && height === resolution;
  } catch (error) {
    if (error instanceof UserError) return false;
    throw error;
  }
}

async function checkedPng(
  png: Uint8Array,
  { seed, resolution }: { seed: number; resolution: number },
): Promise<Uint8Array> {
  const { width, height } = await decodePicture(png);
  if (width === resolution && height === resolution) return png;
  throw new Error(
    `Cannot keep the class picture of seed ${seed}: it must be ${resolution} x ${resolution}, got ${width} x ${height}`,
  );
}

async function saveWhole(file: string, content: Uint8Array): Promise<void> {
  const partial = `${file}.${randomUUID()}${PARTIAL}`;
  await writeFile(partial, content);
  await rename(partial, file);
}

function ignoreAbsence(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
