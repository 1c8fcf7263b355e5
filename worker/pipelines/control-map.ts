/** From what a person attached to the map that a network takes, with a word on how it was read. */
import sharp from 'sharp';
import { UserError } from '../../shared/errors.ts';
import type { Control, ControlKind } from '../../shared/jobs.ts';
import { decodePicture, type PictureSize } from '../diffusion/picture.ts';
import type { Bitmap } from '../diffusion/resize.ts';
import { canny } from '../maps/canny.ts';
import { type DetectedKind, detectKind } from '../maps/detect.ts';
import { cleanSketch, sketchFromPhoto } from '../maps/sketch.ts';

export interface ControlMap {
  readonly kind: ControlKind;
  readonly map: Bitmap;
  /** For the person: "looks like a line drawing, white on black: used as it is". */
  readonly reading: string;
}

interface Reading {
  readonly map: Bitmap;
  readonly done: string;
}

/**
 * Reads a control image: tells its kind where that is left open, makes a map of a picture, turns a map whose polarity is
 * the wrong way round.
 * @param offered  kinds that the model has networks for
 * @throws UserError if no map of the kind can be made of it
 */
export async function readControlMap(
  bytes: Uint8Array,
  control: Pick<Control, 'kind' | 'source'>,
  offered: readonly ControlKind[],
): Promise<ControlMap> {
  const picture = await decodePicture(bytes);
  const detected = detectKind(picture);
  const kind = control.kind === 'auto' ? kindFor(detected, offered) : control.kind;
  const { map, done } =
    control.source === 'map'
      ? { map: picture, done: 'used as it is, as asked' }
      : readers[kind](picture, { ...detected, isPicture: control.source === 'picture' });
  return { kind, map, reading: `looks like ${describe(detected)}: ${done}` };
}

type Seen = DetectedKind & { readonly isPicture: boolean };

const AS_IT_IS = 'used as it is';

const readers: { readonly [K in ControlKind]: (picture: Bitmap, seen: Seen) => Reading } = {
  sketch: (picture, seen) => {
    if (seen.isPicture || !isLines(seen)) return { map: sketchFromPhoto(picture), done: 'its lines were drawn' };
    if (!seen.isInverted) return { map: picture, done: AS_IT_IS };
    return { map: cleanSketch(picture), done: 'cleaned, and turned to white on black' };
  },
  canny: (picture, seen) => {
    if (seen.isPicture || !isLines(seen)) return { map: canny(picture), done: 'its edges were found' };
    return seen.isInverted
      ? { map: inverted(picture), done: 'turned to white on black' }
      : { map: picture, done: AS_IT_IS };
  },
  depth: (picture, seen) => {
    if (seen.isPicture || seen.kind !== 'depth') throw noMapOf('depth', seen);
    return seen.isInverted
      ? { map: inverted(picture), done: 'inverted, so that near is bright' }
      : { map: picture, done: AS_IT_IS };
  },
  segmentation: (picture, seen) => {
    if (seen.isPicture || seen.kind !== 'segmentation') throw noMapOf('segmentation', seen);
    return { map: picture, done: AS_IT_IS };
  },
  pose: (picture, seen) => {
    if (seen.isPicture || seen.kind !== 'pose') throw noMapOf('pose', seen);
    return { map: picture, done: AS_IT_IS };
  },
};

function isLines({ kind }: DetectedKind): boolean {
  return kind === 'sketch' || kind === 'canny';
}

/** Line drawings of any width serve both kinds of line network; a photo is drawn with lines. */
function kindFor(detected: DetectedKind, offered: readonly ControlKind[]): ControlKind {
  const { kind } = detected;
  const wanted: readonly ControlKind[] =
    kind === 'photo' || kind === 'sketch' ? ['sketch', 'canny'] : kind === 'canny' ? ['canny', 'sketch'] : [kind];
  const found = wanted.find((candidate) => offered.includes(candidate));
  if (found) return found;
  const known = offered.length === 0 ? 'none' : offered.join(', ');
  throw new UserError(`Cannot apply the control: it looks like ${describe(detected)}, and the model takes ${known}`);
}

function noMapOf(kind: ControlKind, seen: Seen): UserError {
  return new UserError(
    `Cannot apply the control: kind ${kind} needs a ${kind} map, got what looks like ${describe(seen)}; attach such a map, set source to map if it is one, or choose kind sketch or canny`,
  );
}

function describe({ kind, isInverted }: DetectedKind): string {
  const words: { readonly [K in DetectedKind['kind']]: string } = {
    sketch: `a line drawing, ${isInverted ? 'dark on bright' : 'white on black'}`,
    canny: `thin edges, ${isInverted ? 'dark on bright' : 'white on black'}`,
    depth: `a depth map${isInverted ? ' in which near is dark' : ''}`,
    segmentation: 'a segmentation map',
    pose: 'a pose',
    photo: 'a photo or painting',
  };
  return words[kind];
}

function inverted(picture: Bitmap): Bitmap {
  return { ...picture, bytes: picture.bytes.map((byte) => 255 - byte) };
}

/** Differences of shape below this are stretched away: nobody sees them. */
const SHAPE_TOLERANCE = 0.03;

/**
 * Brings a map into the shape of a picture: lines and poses get empty margins, so that nothing is lost; surfaces are cut.
 * @returns the map as PNG, and what was done for the person
 */
export async function fitMap(
  { kind, map }: ControlMap,
  { width, height }: PictureSize,
): Promise<{ png: Uint8Array; note: string | undefined }> {
  const ratio = (map.width * height) / (map.height * width);
  const isSame = Math.abs(ratio - 1) <= SHAPE_TOLERANCE;
  const isSurface = kind === 'depth' || kind === 'segmentation';
  const fit = isSame ? 'fill' : isSurface ? 'cover' : 'contain';
  const raw = { width: map.width, height: map.height, channels: map.channels as 1 | 3 };
  const png = await sharp(map.bytes, { raw })
    .resize({ width, height, fit, background: 'black', kernel: kind === 'segmentation' ? 'nearest' : 'lanczos3' })
    .removeAlpha()
    .png()
    .toBuffer();
  if (isSame) return { png, note: undefined };
  return { png, note: isSurface ? 'cut to the shape of the picture' : 'given margins to fit the shape of the picture' };
}
