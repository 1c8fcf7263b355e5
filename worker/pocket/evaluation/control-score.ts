import { canny } from '../../maps/canny.ts';
import { lineAgreement } from '../../maps/line-agreement.ts';
import type { Critic } from '../judges/critic.ts';
import { READ_SIDE } from '../judges/map-reader.ts';
import { type TrueMaps, trueMaps } from '../judges/true-maps.ts';
import { type ControlMapKind, renderControlMap } from '../renderer/control-maps.ts';
import type { SceneDescription } from '../renderer/scene.ts';
import { LIMBS } from '../renderer/skeleton-svg.ts';
import { SIDE } from '../renderer/world.ts';

/** How scores are taken: F1 of lines that may lie two pixels off, or the intersection over the union of areas. */
export const SCORE_NAMES: { readonly [K in ControlMapKind]: string } = {
  sketch: 'F1 of ink',
  canny: 'F1 of edges',
  depth: 'IoU of what is near',
  segmentation: 'mean IoU of classes',
  pose: 'F1 of limbs',
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
    return mean(classes.map((segment) => overlap(areaOf(found.segments, segment), areaOf(expected.segments, segment))));
  },
  pose: (found, expected) => limbAgreement(found.limbs, expected.limbs),
};

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

/** The mean over the limbs of the F1 of each one's pixels; a limb that neither side has counts as nothing. */
function limbAgreement(found: Uint8Array, expected: Uint8Array): number {
  const limbs = LIMBS.map((_, limb) => limb).filter((limb) => found.includes(limb) || expected.includes(limb));
  const marks = (classes: Uint8Array, limb: number) => lines(classes.map((one) => (one === limb ? 1 : 0)));
  return mean(limbs.map((limb) => lineAgreement(marks(found, limb), marks(expected, limb), READ_TOLERANCE).f1));
}

export function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
