import { canny } from '../../maps/canny.ts';
import { lineAgreement } from '../../maps/line-agreement.ts';
import type { Critic } from '../judges/critic.ts';
import { READ_SIDE } from '../judges/map-reader.ts';
import { type TrueMaps, trueMaps } from '../judges/true-maps.ts';
import { type ControlMapKind, renderControlMap, SEGMENTS } from '../renderer/control-maps.ts';
import type { SceneDescription } from '../renderer/scene.ts';
import { SIDE } from '../renderer/world.ts';

/** How scores are taken: F1 of lines that may lie two pixels off, or the intersection over the union of areas. */
export const SCORE_NAMES: { readonly [K in ControlMapKind]: string } = {
  sketch: 'F1 of ink',
  canny: 'F1 of edges',
  depth: 'IoU of what is near',
  segmentation: 'IoU of classes, each by its area',
  pose: 'IoU of the person',
};

/** Depths from here on belong to the subject: the nearest ground is 170 of 255. */
const NEAR = 0.72;
/** Of the 64 x 64 maps that the reader gives; two pixels of the picture. */
const READ_TOLERANCE = 1;

/**
 * Extracts a map from a picture again and compares it with the exact one of the scene that controlled it.
 * @returns 0 to 1
 */
export async function controlScore(
  kind: ControlMapKind,
  { pixels, scene, critic }: { pixels: Uint8Array; scene: SceneDescription; critic: Critic },
): Promise<number> {
  if (kind === 'canny') return edgeScore(pixels, scene);
  return compareMaps[kind](await critic.readMaps(pixels), await trueMaps(scene));
}

async function edgeScore(pixels: Uint8Array, scene: SceneDescription): Promise<number> {
  const map = await renderControlMap(scene, 'canny');
  const expected = { width: SIDE, height: SIDE, channels: 1, bytes: map.filter((_, index) => index % 3 === 0) };
  return lineAgreement(canny({ width: SIDE, height: SIDE, channels: 3, bytes: pixels }), expected).f1;
}

const compareMaps: {
  readonly [K in Exclude<ControlMapKind, 'canny'>]: (found: TrueMaps, expected: TrueMaps) => number;
} = {
  sketch: (found, expected) => lineAgreement(lines(found.ink), lines(expected.ink), READ_TOLERANCE).f1,
  depth: (found, expected) => overlap(found.depth.map(isNear), expected.depth.map(isNear)),
  segmentation: (found, expected) => {
    const classes = [...new Set(expected.segments)];
    return sum(classes.map((segment) => shareOf(expected, segment) * segmentOverlap(segment, found, expected)));
  },
  pose: (found, expected) => segmentOverlap(PERSON, found, expected),
};

const PERSON = SEGMENTS.indexOf('person');

function segmentOverlap(segment: number, found: TrueMaps, expected: TrueMaps): number {
  return overlap(areaOf(found.segments, segment), areaOf(expected.segments, segment));
}

function shareOf({ segments }: TrueMaps, segment: number): number {
  return segments.filter((one) => one === segment).length / segments.length;
}

function isNear(depth: number): number {
  return depth >= NEAR ? 1 : 0;
}

function areaOf(classes: Uint8Array, wanted: number): Float32Array {
  return Float32Array.from(classes, (one) => (one === wanted ? 1 : 0));
}

function overlap(a: Float32Array, b: Float32Array): number {
  let [both, either] = [0, 0];
  a.forEach((value, index) => {
    both += value * b[index]!;
    either += Math.max(value, b[index]!);
  });
  return either === 0 ? 1 : both / either;
}

function lines(marks: Uint8Array) {
  return { width: READ_SIDE, height: READ_SIDE, channels: 1, bytes: marks.map((mark) => 255 * mark) };
}

export function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : sum(values) / values.length;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
