import { readdir } from 'node:fs/promises';
import { join, parse } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import { decodePicture, type PictureSize } from '../diffusion/picture.ts';
import { type Bitmap, type ResizeFilter, resize } from '../diffusion/resize.ts';
import { backgroundWarnings } from './background-warning.ts';
import { greyBitmap } from './grey-bitmap.ts';
import { photoWarnings } from './photo-warnings.ts';

/** A photo of the subject, upright, at the size that it is trained in but not yet cropped. */
export interface Photo {
  /** Path as it was found. */
  readonly file: string;
  /** Upright, before it was resized. */
  readonly originalSize: PictureSize;
  /** RGB; the shorter side is the resolution. */
  readonly bitmap: Bitmap;
  /** Grey, in the size of `bitmap`, white where the subject is; undefined without masks. */
  readonly mask: Bitmap | undefined;
}

export interface PhotoOptions {
  /** Pixels of the shorter side. */
  readonly resolution: number;
  /** Folder of one mask per photo, named like it up to the extension. */
  readonly masksFolder?: string | undefined;
}

export interface LoadedPhotos {
  /** In the order of their names. */
  readonly photos: readonly Photo[];
  /** What may spoil a lesson without preventing it, one sentence each. */
  readonly warnings: readonly string[];
}

/** A lesson is about a few photos; many more are rather a mistaken folder. */
const USUAL_COUNT = 100;
/** Width over height of a mask and its photo may differ by the rounding of a small thumbnail. */
const SHAPE_TOLERANCE = 0.02;

/** The mean of the source pixels under an output pixel. */
const BOX: ResizeFilter = { support: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };

/**
 * Loads every picture of a folder, resized by Lanczos so that its shorter side is the resolution. Hidden files are skipped.
 * The longer side is cut to whole pixels as torchvision's `Resize` does.
 * @throws UserError that names what is missing, is no picture, or is smaller than half of the resolution
 */
export async function loadPhotos(folder: string, { resolution, masksFolder }: PhotoOptions): Promise<LoadedPhotos> {
  const names = await listPictures(folder);
  const masks = masksFolder === undefined ? undefined : await openMasks(masksFolder, names);
  const photos: Photo[] = [];
  // One after the other: a decoded photo of a phone takes 36 MB.
  for (const name of names) {
    photos.push(await loadPhoto(join(folder, name), { resolution, maskFile: masks?.fileOf(name) }));
  }
  const warnings = [...countWarnings(photos), ...(masks?.warnings ?? []), ...photoWarnings(photos)];
  return { photos, warnings: [...warnings, ...backgroundWarnings(photos)] };
}

/** Names of the files in a folder, hidden ones left out, in their order. */
export async function listPictures(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
    const rules: Readonly<Record<string, string>> = { ENOENT: 'does not exist', ENOTDIR: 'must be a folder' };
    const rule = rules[cause.code ?? ''];
    throw rule === undefined ? cause : new UserError(`Cannot load the photos: ${folder} ${rule}`, { cause });
  });
  const visible = entries.filter(({ name }) => !name.startsWith('.'));
  const inner = visible.find((entry) => entry.isDirectory());
  if (inner !== undefined) {
    throw new UserError(`Cannot load the photos: ${folder} must hold pictures only, got the folder ${inner.name}`);
  }
  if (visible.length === 0) {
    throw new UserError(`Cannot load the photos: ${folder} must hold at least one picture, got none`);
  }
  return visible.map(({ name }) => name).sort();
}

/** @throws UserError if the file is no picture, or smaller than half of the resolution */
export async function loadPhoto(
  file: string,
  { resolution, maskFile }: { resolution: number; maskFile: string | undefined },
): Promise<Photo> {
  const original = await decodePicture(file);
  const { width, height } = original;
  if (2 * Math.min(width, height) < resolution) {
    throw new UserError(
      `Cannot use ${file}: its shorter side must have at least ${Math.ceil(resolution / 2)} pixels, half of the resolution, got ${width} x ${height}`,
    );
  }
  const bitmap = resize(original, sizeWithShortSide({ width, height }, resolution));
  const mask = maskFile === undefined ? undefined : await loadSubjectMask(maskFile, bitmap);
  return { file, originalSize: { width, height }, bitmap, mask };
}

function sizeWithShortSide({ width, height }: PictureSize, resolution: number): PictureSize {
  const longSide = Math.trunc((resolution * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? { width: resolution, height: longSide } : { width: longSide, height: resolution };
}

function countWarnings({ length }: readonly Photo[]): string[] {
  return length > USUAL_COUNT ? [`A lesson needs 3 to 5 photos, rarely more than ${USUAL_COUNT}, got ${length}`] : [];
}

interface Masks {
  /** @throws UserError if the photo has no mask */
  readonly fileOf: (photoName: string) => string;
  readonly warnings: readonly string[];
}

async function openMasks(folder: string, photoNames: readonly string[]): Promise<Masks> {
  const maskNames = new Map<string, string>();
  for (const name of await listPictures(folder)) {
    const twin = maskNames.get(parse(name).name);
    if (twin !== undefined) {
      throw new UserError(`Cannot load the masks: a photo must have one mask, got ${twin} and ${name} in ${folder}`);
    }
    maskNames.set(parse(name).name, name);
  }
  const stems = new Set(photoNames.map((name) => parse(name).name));
  const unused = [...maskNames].filter(([stem]) => !stems.has(stem)).map(([, name]) => name);
  return {
    fileOf: (photoName) => {
      const maskName = maskNames.get(parse(photoName).name);
      if (maskName !== undefined) return join(folder, maskName);
      throw new UserError(`Cannot load the masks: every photo must have one, got none for ${photoName} in ${folder}`);
    },
    warnings: unused.length === 0 ? [] : [`These masks belong to no photo: ${unused.join(', ')}`],
  };
}

async function loadSubjectMask(file: string, { width, height }: PictureSize): Promise<Bitmap> {
  const mask = await decodePicture(file);
  const distortion = (mask.width * height) / (mask.height * width);
  if (Math.abs(distortion - 1) > SHAPE_TOLERANCE) {
    throw new UserError(
      `Cannot use the mask ${file}: it must have its photo's shape, ${width} x ${height}, got ${mask.width} x ${mask.height}`,
    );
  }
  const grey = greyBitmap(mask);
  if (grey.bytes.every((value) => value === 0)) {
    throw new UserError(`Cannot use the mask ${file}: the subject must be white in it, got black only`);
  }
  return resize(grey, { width, height }, BOX);
}
