import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openModelFolder } from '../../diffusion/model-folder.ts';
import { train } from '../../pipelines/train.ts';
import type { SessionOptions } from '../../runtime/session.ts';
import { completeSettings } from '../../training/complete-settings.ts';
import { traitsOf } from '../../training/default-settings.ts';
import type { GivenSettings } from '../../training/settings.ts';
import { writePng } from '../examples.ts';
import { drawSubject, type SubjectId } from '../renderer/subjects.ts';
import type { Background } from '../renderer/world.ts';

/** The identifier that the pocket vocabulary gives first. */
export const IDENTIFIER = 'nts';
/** The word that textual inversion learns. */
export const PLACEHOLDER = '<mine>';

/** Photos of lessons show the subject in these places; the evaluation asks for it in others. */
export const PHOTO_PLACES: readonly Background[] = ['meadow', 'room', 'beach', 'city'];
export const NEW_PLACES: readonly Background[] = ['forest', 'snow', 'night', 'desert'];

export function placeOf(number: number): Background {
  return NEW_PLACES[number % NEW_PLACES.length]!;
}

/** Everything else is the family's default, which is what people get. */
export const LESSONS = {
  lora: { method: 'dreambooth-lora' },
  whole: { method: 'dreambooth' },
  inversion: { method: 'textual-inversion' },
} as const satisfies Record<string, GivenSettings>;

export interface TeachOptions {
  /** Model folder that is taught. */
  readonly model: string;
  /** Folder for photos and lessons; what an earlier lesson of the same name left is replaced. */
  readonly workFolder: string;
  readonly session: SessionOptions;
}

export interface Taught {
  /** Of what was learned: a LoRA file, an embedding or a model folder. */
  readonly result: string;
  /** From photos to file, class pictures included. */
  readonly seconds: number;
}

/** Runs one lesson as `npm run train` does, from four photos of the subject. */
export async function teach(
  subject: SubjectId,
  name: string,
  { settings: given, ...options }: TeachOptions & { settings: GivenSettings },
): Promise<Taught> {
  const model = await openModelFolder(options.model);
  const settings = completeSettings(given, traitsOf(model));
  const out = join(options.workFolder, name);
  await rm(out, { recursive: true, force: true });
  const started = performance.now();
  const lesson = train({
    model,
    settings,
    seed: 1,
    instanceImages: await writePhotos(subject, options.workFolder),
    out,
    isResumed: false,
    classImageCache: join(options.workFolder, 'class-images'),
    session: options.session,
    onMessage: () => {},
  });
  for (let next = await lesson.next(); ; next = await lesson.next()) {
    if (!next.done) continue;
    const { result } = next.value;
    if (result === undefined)
      throw new Error(`Cannot evaluate the lesson: it must leave a result, got none of ${name}`);
    return { result, seconds: (performance.now() - started) / 1000 };
  }
}

async function writePhotos(subject: SubjectId, workFolder: string): Promise<string> {
  const folder = join(workFolder, `photos-${subject}`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const [index, background] of PHOTO_PLACES.entries()) {
    const { pixels } = await drawSubject(subject, index, { background });
    await writePng(join(folder, `${index}.png`), pixels);
  }
  return folder;
}
