import { renderControlMap, SEGMENT_COLORS, SEGMENTS } from '../renderer/control-maps.ts';
import type { SceneDescription } from '../renderer/scene.ts';
import { SIDE } from '../renderer/world.ts';
import { READ_SIDE } from './map-reader.ts';

/** The maps of a scene in the form in which the reader gives them, 64 x 64. */
export interface TrueMaps {
  /** 1 where there is ink. */
  readonly ink: Uint8Array;
  /** Indices of `SEGMENTS`. */
  readonly segments: Uint8Array;
  /** 0 far to 1 near. */
  readonly depth: Float32Array;
}

const segmentOfColor = new Map(SEGMENTS.map((segment, index) => [SEGMENT_COLORS[segment].join(), index]));

export async function trueMaps(scene: SceneDescription): Promise<TrueMaps> {
  const [sketch, segments, depth] = await Promise.all([
    renderControlMap(scene, 'sketch'),
    renderControlMap(scene, 'segmentation'),
    renderControlMap(scene, 'depth'),
  ]);
  return {
    ink: Uint8Array.from(everySecond((i) => (meanOfFour(sketch, i) > 110 ? 1 : 0))),
    segments: Uint8Array.from(everySecond((i) => segmentOfColor.get(segments.subarray(i, i + 3).join()) ?? 0)),
    depth: Float32Array.from(everySecond((i) => depth[i]! / 255)),
  };
}

/** One value for every second pixel of every second row. */
function everySecond(valueAt: (index: number) => number): number[] {
  return Array.from({ length: READ_SIDE * READ_SIDE }, (_, i) => {
    const [x, y] = [2 * (i % READ_SIDE), 2 * Math.floor(i / READ_SIDE)];
    return valueAt(3 * (y * SIDE + x));
  });
}

/** The mean of a pixel and of those to the right, below, and both. */
function meanOfFour(rgb: Uint8Array, i: number): number {
  return (rgb[i]! + rgb[i + 3]! + rgb[i + 3 * SIDE]! + rgb[i + 3 * SIDE + 3]!) / 4;
}
