import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { type ControlMapKind, renderControlMap } from './renderer/control-maps.ts';
import { describeScene } from './renderer/scene.ts';
import { drawSubject, type SubjectId } from './renderer/subjects.ts';
import { BACKGROUNDS, type Background, type Noun, SIDE } from './renderer/world.ts';

/** A control map to try, with a prompt that goes with it. */
export interface ExampleMap {
  readonly file: string;
  readonly kind: ControlMapKind;
  readonly prompt: string;
}

/** Scenes of no training set: it takes lower seeds. */
export const EXAMPLE_SEED = 3_000_000_000;

const MAPS: readonly { noun: Noun; background: Background; kind: ControlMapKind; seed: number; prompt: string }[] = [
  { noun: 'car', background: 'beach', kind: 'sketch', seed: 2, prompt: 'a red car on a beach' },
  { noun: 'cat', background: 'room', kind: 'sketch', seed: 1, prompt: 'an orange cat in a room' },
  { noun: 'house', background: 'snow', kind: 'sketch', seed: 2, prompt: 'a yellow house in the snow' },
  { noun: 'backpack', background: 'forest', kind: 'canny', seed: 3, prompt: 'a blue backpack in a forest' },
  { noun: 'teapot', background: 'room', kind: 'depth', seed: 1, prompt: 'a green teapot in a room' },
  { noun: 'boat', background: 'beach', kind: 'segmentation', seed: 5, prompt: 'a purple boat on a beach' },
  { noun: 'person', background: 'meadow', kind: 'pose', seed: 6, prompt: 'a person in a pink shirt in a meadow' },
];

/** Photos of one individual each, enough for a lesson. */
const PHOTO_SETS: readonly SubjectId[] = ['backpack', 'dog', 'teapot'];
const PHOTOS = 5;

/** Writes maps as `car-sketch.png` and photos as `backpack/1.png`; returns the maps. */
export async function writeExamples(folder: string): Promise<ExampleMap[]> {
  await mkdir(folder, { recursive: true });
  for (const subject of PHOTO_SETS) await writePhotos(join(folder, subject), subject);
  return Promise.all(
    MAPS.map(async ({ noun, background, kind, seed, prompt }) => {
      const scene = describeScene(EXAMPLE_SEED + seed, { noun, background });
      const file = `${noun}-${kind}.png`;
      await writePng(join(folder, file), await renderControlMap(scene, kind));
      return { file, kind, prompt };
    }),
  );
}

/** Each photo before another background. */
async function writePhotos(folder: string, subject: SubjectId): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (let index = 0; index < PHOTOS; index++) {
    const background = BACKGROUNDS[(2 * index + 1) % BACKGROUNDS.length] ?? 'room';
    const { pixels } = await drawSubject(subject, index, { background });
    await writePng(join(folder, `${index + 1}.png`), pixels);
  }
}

export async function writePng(file: string, pixels: Uint8Array): Promise<void> {
  const png = sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 3 } }).png({ compressionLevel: 9 });
  await writeFile(file, await png.toBuffer());
}
