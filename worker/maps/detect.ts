import { luma } from '../diffusion/picture.ts';
import type { Bitmap } from '../diffusion/resize.ts';
import { greyPlane, otsuThreshold, type Plane } from './filters.ts';

export type PictureKind = 'sketch' | 'canny' | 'depth' | 'segmentation' | 'pose' | 'photo';

export interface DetectedKind {
  readonly kind: PictureKind;
  /**
   * True for dark lines on bright, and for a depth map in which near is dark: to be inverted before it controls.
   * Always false for other kinds.
   */
  readonly isInverted: boolean;
  /** 0 to 1: how clearly the picture is of this kind. */
  readonly confidence: number;
}

/** What tells the kinds apart, over all pixels of a picture. */
interface Evidence {
  /** Share of pixels with a difference of at least 48 between their channels. */
  readonly colored: number;
  /** Of twelve hues, how many have a share of the coloured pixels. */
  readonly hues: number;
  /** Share of almost black pixels. */
  readonly black: number;
  /** How many colours, in steps of 16, cover 90 % of the surfaces: the pixels that their neighbours are like. */
  readonly palette: number;
  /** Share of dark grey pixels that no surface holds, such as outlines. */
  readonly darkDetail: number;
  /** Mean difference of luma between neighbours, apart from the steepest tenth. */
  readonly grain: number;
  readonly lines: LineEvidence;
}

/** The picture in two tones, of which the rarer one may be lines. */
interface LineEvidence {
  readonly share: number;
  readonly isDark: boolean;
  /** Mean width in pixels. */
  readonly thickness: number;
  /** Standard deviation of the luma of what is not a line. */
  readonly groundSpread: number;
  /** Difference of the two tones. */
  readonly contrast: number;
}

/**
 * Tells from a picture alone what kind of control map it is, or that it is none. A drawing on paper counts as a sketch.
 * Lines one or two pixels wide count as Canny edges.
 * @param picture  3 channels, in its own size: enlarging widens lines
 */
export function detectKind(picture: Bitmap): DetectedKind {
  const evidence = gatherEvidence(picture);
  return (
    asPose(evidence) ??
    asLines(evidence, picture) ??
    asSegmentation(evidence) ??
    asDepth(evidence, picture) ?? { kind: 'photo', isInverted: false, confidence: photoConfidence(evidence) }
  );
}

function asPose({ black, colored, hues }: Evidence): DetectedKind | undefined {
  if (black < 0.75 || colored < 0.004 || hues < 5 || black + colored < 0.9) return undefined;
  return { kind: 'pose', isInverted: false, confidence: unit((black + colored - 0.8) / 0.2) };
}

/** Widest lines, as a share of the picture's side. */
const WIDEST_LINE = 0.05;
const CANNY_THICKNESS = 1.7;

function asLines({ lines, colored }: Evidence, { width, height }: Bitmap): DetectedKind | undefined {
  const { share, isDark, thickness, groundSpread, contrast } = lines;
  const isThin = share < 0.35 && thickness < Math.max(4, WIDEST_LINE * Math.max(width, height));
  if (!isThin || colored > 0.08 || contrast < 40 || groundSpread > 0.25 * contrast) return undefined;
  const confidence = unit(1 - groundSpread / contrast) * unit(1.2 - share);
  return { kind: thickness < CANNY_THICKNESS ? 'canny' : 'sketch', isInverted: isDark, confidence };
}

/** Twice as many as a segmentation of a few classes leaves after strong JPEG compression; photos of skies have more. */
const SEGMENT_PALETTE = 16;
const MAX_DARK_DETAIL = 0.012;

function asSegmentation({ palette, colored, darkDetail }: Evidence): DetectedKind | undefined {
  if (palette > SEGMENT_PALETTE || colored < 0.3 || darkDetail > MAX_DARK_DETAIL) return undefined;
  return { kind: 'segmentation', isInverted: false, confidence: unit(1.2 - palette / SEGMENT_PALETTE) };
}

const SMOOTH_GRAIN = 4;

function asDepth({ colored, grain }: Evidence, picture: Bitmap): DetectedKind | undefined {
  if (colored > 0.01 || grain > SMOOTH_GRAIN) return undefined;
  const slope = nearness(greyPlane(picture));
  return { kind: 'depth', isInverted: slope < 0, confidence: unit(0.5 + Math.abs(slope) / 80) };
}

/** How far the picture gets brighter from top to bottom, where the ground comes nearer, and from the rim to the middle. */
function nearness(grey: Plane): number {
  const mean = ([left, top]: [number, number], [right, bottom]: [number, number]) => {
    let [sum, count] = [0, 0];
    for (let y = Math.floor(top * grey.height); y < bottom * grey.height; y++) {
      for (let x = Math.floor(left * grey.width); x < right * grey.width; x++) {
        sum += grey.values[y * grey.width + x]!;
        count++;
      }
    }
    return sum / Math.max(1, count);
  };
  const fall = mean([0, 0.8], [1, 1]) - mean([0, 0], [1, 0.2]);
  const bulge = mean([0.3, 0.4], [0.7, 0.9]) - mean([0, 0], [1, 0.2]);
  return fall + bulge;
}

function photoConfidence({ grain, palette }: Evidence): number {
  return unit(0.5 + palette / 200 + grain / 20);
}

function gatherEvidence(picture: Bitmap): Evidence {
  const grey = greyPlane(picture);
  return { ...colorEvidence(picture), ...surfaceEvidence(picture), grain: meanGrain(grey), lines: lineEvidence(grey) };
}

function colorEvidence({ bytes }: Bitmap): Pick<Evidence, 'colored' | 'black' | 'hues'> {
  const pixels = bytes.length / 3;
  const hues = new Uint32Array(12);
  let [colored, black] = [0, 0];
  for (let i = 0; i < bytes.length; i += 3) {
    const [red, green, blue] = [bytes[i]!, bytes[i + 1]!, bytes[i + 2]!];
    const chroma = chromaOf(bytes, i);
    if (chroma >= 48) {
      colored++;
      hues[hueOf(red, green, blue)]! += 1;
    }
    if (luma(bytes, i) < 24 && chroma < 48) black++;
  }
  return {
    colored: colored / pixels,
    black: black / pixels,
    hues: hues.filter((count) => count > 0.02 * colored).length,
  };
}

/** Differences of neighbours within a surface, which JPEG leaves. */
const SURFACE_GRAIN = 10;

function surfaceEvidence({ width, height, bytes }: Bitmap): Pick<Evidence, 'palette' | 'darkDetail'> {
  const colors = new Uint32Array(17 ** 3);
  let [surface, darkDetail] = [0, 0];
  for (let y = 0; y + 1 < height; y++) {
    for (let x = 0; x + 1 < width; x++) {
      const i = 3 * (y * width + x);
      if (Math.max(distance(bytes, i, i + 3), distance(bytes, i, i + 3 * width)) > SURFACE_GRAIN) {
        if (luma(bytes, i) < 60 && chromaOf(bytes, i) < 30) darkDetail++;
        continue;
      }
      surface++;
      const [red, green, blue] = [0, 1, 2].map((channel) => Math.round(bytes[i + channel]! / 16)) as [
        number,
        number,
        number,
      ];
      colors[(red * 17 + green) * 17 + blue]! += 1;
    }
  }
  return { palette: colorsCovering(colors, 0.9 * surface), darkDetail: darkDetail / (width * height) };
}

function chromaOf(bytes: Uint8Array, i: number): number {
  const [red, green, blue] = [bytes[i]!, bytes[i + 1]!, bytes[i + 2]!];
  return Math.max(red, green, blue) - Math.min(red, green, blue);
}

function distance(bytes: Uint8Array, a: number, b: number): number {
  const channel = (offset: number) => Math.abs(bytes[a + offset]! - bytes[b + offset]!);
  return Math.max(channel(0), channel(1), channel(2));
}

/** One of twelve. */
function hueOf(red: number, green: number, blue: number): number {
  const greatest = Math.max(red, green, blue);
  const chroma = greatest - Math.min(red, green, blue);
  const sixth =
    greatest === red
      ? ((green - blue) / chroma + 6) % 6
      : greatest === green
        ? (blue - red) / chroma + 2
        : (red - green) / chroma + 4;
  return Math.floor(2 * sixth) % 12;
}

function colorsCovering(counts: Uint32Array, pixels: number): number {
  const sorted = counts.filter((count) => count > 0).sort((a, b) => b - a);
  let covered = 0;
  const index = sorted.findIndex((count) => {
    covered += count;
    return covered >= pixels;
  });
  return index + 1;
}

function meanGrain({ width, values }: Plane): number {
  const differences = new Float32Array(values.length - 1);
  for (let i = 0; i + 1 < values.length; i++)
    differences[i] = (i + 1) % width === 0 ? 0 : Math.abs(values[i + 1]! - values[i]!);
  const calm = differences.sort().subarray(0, Math.floor(0.9 * differences.length));
  return calm.reduce((sum, value) => sum + value, 0) / Math.max(1, calm.length);
}

function lineEvidence(grey: Plane): LineEvidence {
  const threshold = otsuThreshold(grey.values);
  const dark = grey.values.reduce((count, value) => count + (value <= threshold ? 1 : 0), 0) / grey.values.length;
  const isDark = dark < 0.5;
  const isLine = (value: number) => value <= threshold === isDark;
  const line = meanAndSpread(grey.values.filter(isLine));
  const ground = meanAndSpread(grey.values.filter((value) => !isLine(value)));
  return {
    isDark,
    share: Math.min(dark, 1 - dark),
    thickness: meanThickness(grey, isLine),
    groundSpread: ground.spread,
    contrast: Math.abs(line.mean - ground.mean),
  };
}

function meanAndSpread(values: Float32Array): { mean: number; spread: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, values.length);
  return { mean, spread: Math.sqrt(variance) };
}

/** The mean over all pixels of lines of the shorter of their runs along the row and along the column. */
function meanThickness({ width, height, values }: Plane, isLine: (value: number) => boolean): number {
  const rows = runLengths(values, { length: width, stride: 1, isLine });
  const columns = runLengths(values, { length: height, stride: width, isLine });
  let [sum, count] = [0, 0];
  for (let i = 0; i < rows.length; i++) {
    if (rows[i] === 0) continue;
    sum += Math.min(rows[i]!, columns[i]!);
    count++;
  }
  return sum / Math.max(1, count);
}

/** For each pixel of a line the length of its run in one direction; 0 elsewhere. */
function runLengths(
  values: Float32Array,
  { length, stride, isLine }: { length: number; stride: number; isLine: (value: number) => boolean },
): Uint16Array {
  const runs = new Uint16Array(values.length);
  for (let line = 0; line < values.length / length; line++) {
    const start = stride === 1 ? line * length : line;
    let run = 0;
    for (let place = 0; place <= length; place++) {
      if (place < length && isLine(values[start + place * stride]!)) run++;
      else {
        for (let back = 1; back <= run; back++) runs[start + (place - back) * stride] = run;
        run = 0;
      }
    }
  }
  return runs;
}

function unit(value: number): number {
  return Math.min(1, Math.max(0, value));
}
