/** Photos of a lesson looked at before it is queued: an hour later is too late to hear that two are the same. */
import sharp from 'sharp';
import { UserError } from '../shared/errors.ts';

/** What the checks need of a photo. */
interface Looked {
  /** "photo 2". */
  readonly name: string;
  readonly width: number;
  readonly height: number;
  /** 16 x 16 grey. */
  readonly thumbnail: Uint8Array;
  /** 16 x 16 RGB, the outermost two pixels on each side. */
  readonly rim: readonly number[];
  /** Variance of the Laplacian, in squared levels of 255. */
  readonly sharpness: number;
}

const SIDE = 16;
const RIM = 2;
/** Sharpness is measured at this size of the shorter side, as worker/training measures it. */
const SHARPNESS_SIDE = 512;
/** Levels of 255: a copy saved anew moves by less than 1, photos of different scenes by more than 20. */
const SAME_PICTURE = 4;
/** Sharp photos have 65 to 2700, those blurred by a Gaussian of 2 pixels at most 19. */
const BLURRED = 20;
/** Levels of 255 between the rims of photos before one wall. */
const SAME_BACKGROUND = 12;

/**
 * Checks the photos of a lesson.
 * @param side  pixels of the pictures that the model makes
 * @returns what may spoil the lesson without preventing it, a sentence each
 * @throws UserError that names the photos that cannot be used, and says what to do
 */
export async function checkPhotos(photos: readonly Uint8Array[], side: number): Promise<string[]> {
  const looked: Looked[] = [];
  // One after the other: a decoded photo of a phone takes 36 MB.
  for (const [i, photo] of photos.entries()) looked.push(await lookAt(photo, `photo ${i + 1}`));
  const problems = [...smallPhotos(looked, side), ...copies(looked), ...allBlurred(looked)];
  if (problems.length > 0) throw new UserError(`Cannot teach from these photos: ${problems.join('; ')}`);
  return [...someBlurred(looked), ...oneBackground(looked)];
}

function smallPhotos(photos: readonly Looked[], side: number): string[] {
  const least = Math.ceil(side / 2);
  return photos
    .filter(({ width, height }) => Math.min(width, height) < least)
    .map(({ name, width, height }) => {
      return `${name} is ${width} x ${height}, and its shorter side must have at least ${least} pixels: attach the original`;
    });
}

function copies(photos: readonly Looked[]): string[] {
  return photos.flatMap((photo, index) => {
    const earlier = photos
      .slice(0, index)
      .find(({ thumbnail }) => meanDifference(thumbnail, photo.thumbnail) < SAME_PICTURE);
    return earlier ? [`${photo.name} is ${earlier.name} once more: take another view of it`] : [];
  });
}

function allBlurred(photos: readonly Looked[]): string[] {
  const isHopeless = photos.every(({ sharpness }) => sharpness < BLURRED);
  return isHopeless ? ['all of them are blurred: take them in more light, or hold still'] : [];
}

function someBlurred(photos: readonly Looked[]): string[] {
  const names = photos.filter(({ sharpness }) => sharpness < BLURRED).map(({ name }) => name);
  return names.length === 0 ? [] : [`${names.join(' and ')} looks blurred; a sharper one teaches more`];
}

function oneBackground(photos: readonly Looked[]): string[] {
  const [first, ...others] = photos;
  const isSame = first && others.every(({ rim }) => meanDifference(rim, first.rim) < SAME_BACKGROUND);
  return isSame ? ['all photos have the same background, which is then learned with the subject'] : [];
}

async function lookAt(bytes: Uint8Array, name: string): Promise<Looked> {
  const { width, height } = await sharp(bytes).metadata();
  const small = () => sharp(bytes).removeAlpha().resize(SIDE, SIDE, { fit: 'fill' });
  const colours = await small().toColourspace('srgb').raw().toBuffer();
  return {
    name,
    width,
    height,
    thumbnail: await small().greyscale().toColourspace('b-w').raw().toBuffer(),
    rim: rimOf(colours),
    sharpness: await sharpnessOf(bytes, Math.min(width, height)),
  };
}

function rimOf(rgb: Uint8Array): number[] {
  const isRim = (at: number) => at < RIM || at >= SIDE - RIM;
  return [...rgb].filter((_, i) => {
    const pixel = Math.floor(i / 3);
    return isRim(pixel % SIDE) || isRim(Math.floor(pixel / SIDE));
  });
}

async function sharpnessOf(bytes: Uint8Array, shorter: number): Promise<number> {
  const size = Math.min(shorter, SHARPNESS_SIDE);
  const { data, info } = await sharp(bytes)
    .removeAlpha()
    .resize({ width: size, height: size, fit: 'outside' })
    .greyscale()
    .toColourspace('b-w')
    .raw()
    .toBuffer({ resolveWithObject: true });
  const { width, height } = info;
  let [sum, squares, count] = [0, 0, 0];
  for (let y = 1; y < height - 1; y++) {
    for (let x = 1; x < width - 1; x++) {
      const i = y * width + x;
      const value = data[i - 1]! + data[i + 1]! + data[i - width]! + data[i + width]! - 4 * data[i]!;
      sum += value;
      squares += value * value;
      count++;
    }
  }
  return count === 0 ? 0 : squares / count - (sum / count) ** 2;
}

function meanDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i]! - b[i]!);
  return sum / a.length;
}
