import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import type { SessionOptions } from '../../runtime/session.ts';
import { plainPrompt } from '../renderer/captions.ts';
import { drawSubject, type SubjectId } from '../renderer/subjects.ts';
import { SIDE } from '../renderer/world.ts';
import { contactSheet } from './page.ts';
import { openStudio, type Studio } from './studio.ts';
import { IDENTIFIER, LESSONS, NEW_PLACES, PHOTO_PLACES, teach } from './teach.ts';

export interface StripOptions {
  readonly family: string;
  readonly workFolder: string;
  readonly session: SessionOptions;
}

const SUBJECT: SubjectId = 'backpack';
/** A sketch of the examples, and what it is made into. */
const SKETCH = {
  file: 'car-sketch.png',
  prompts: ['a red car on a beach', 'a blue car in the snow', 'a yellow car in a city'],
};
const SEED = 7;

/**
 * Makes the README's picture: a sketch and three pictures that follow it; below, four photos of a subject and the taught
 * subject in four new places. Seeds are the first ones: nothing was chosen.
 * @returns a WebP
 */
export async function pictureStrip(options: StripOptions): Promise<Buffer> {
  const studio = await openStudio(options);
  try {
    const pictures = [
      ...(await sketched(studio, options.family)),
      ...(await photos()),
      ...(await taught(studio, options)),
    ];
    return (await contactSheet({ pictures, columns: 4 })).webp({ quality: 90 }).toBuffer();
  } finally {
    await studio.dispose();
  }
}

async function sketched(studio: Studio, family: string): Promise<Uint8Array[]> {
  const file = await readFile(join(family, 'examples', SKETCH.file));
  const map = new Uint8Array(await sharp(file).resize(SIDE, SIDE).removeAlpha().toColourspace('srgb').raw().toBuffer());
  const pictures: Uint8Array[] = [map];
  for (const prompt of SKETCH.prompts) {
    pictures.push(
      await studio.draw({ prompt, seed: SEED, controls: [{ network: 'controlnet', kind: 'sketch', map }] }),
    );
  }
  return pictures;
}

function photos(): Promise<Uint8Array[]> {
  return Promise.all(
    PHOTO_PLACES.map(async (background, index) => (await drawSubject(SUBJECT, index, { background })).pixels),
  );
}

async function taught(studio: Studio, { family, workFolder, session }: StripOptions): Promise<Uint8Array[]> {
  const settings = { ...LESSONS.lora, classNoun: SUBJECT, identifier: IDENTIFIER };
  const { result: lora } = await teach(SUBJECT, 'strip', {
    model: join(family, 'model'),
    workFolder,
    session,
    settings,
  });
  const pictures: Uint8Array[] = [];
  for (const background of NEW_PLACES) {
    pictures.push(
      await studio.draw({ prompt: plainPrompt({ noun: SUBJECT, background }, IDENTIFIER), seed: SEED, lora }),
    );
  }
  return pictures;
}
