import { canny } from '../../maps/canny.ts';
import { drawBackground, REGIONS, type RegionKind } from './backgrounds.ts';
import { INK } from './part.ts';
import { rasterize, renderScene } from './render-scene.ts';
import type { SceneDescription } from './scene.ts';
import { flatLook, type Look, sceneSvg, verticalGradient } from './scene-svg.ts';
import { skeletonSvg } from './skeleton-svg.ts';
import { NOUNS, type Noun, SIDE } from './world.ts';

export const CONTROL_MAPS = ['sketch', 'canny', 'depth', 'segmentation', 'pose'] as const;
export type ControlMapKind = (typeof CONTROL_MAPS)[number];

/**
 * Draws one exact control map of a scene, [128, 128, 3] RGB side by side:
 * - sketch: the ink of the subject as white lines on black, as published scribble ControlNets take it; the background,
 *   which is painted without ink, leaves no line;
 * - canny: white edges of the rendered picture on black, thresholds 100 and 200, as published Canny ControlNets take it;
 * - depth: grey, near is bright;
 * - segmentation: a flat colour for each noun and region, `SEGMENT_COLORS`;
 * - pose: the skeleton of a person in OpenPose's colours on black; all black if there is no person.
 */
export async function renderControlMap(scene: SceneDescription, kind: ControlMapKind): Promise<Uint8Array> {
  return DRAW[kind](scene);
}

const DRAW: { readonly [K in ControlMapKind]: (scene: SceneDescription) => Promise<Uint8Array> } = {
  sketch: (scene) => rasterize(sceneSvg(scene, SKETCH)),
  canny: async (scene) => {
    const { pixels } = await renderScene(scene);
    const edges = canny({ width: SIDE, height: SIDE, channels: 3, bytes: pixels });
    return Uint8Array.from({ length: 3 * edges.bytes.length }, (_, index) => edges.bytes[Math.floor(index / 3)] ?? 0);
  },
  depth: (scene) => rasterize(sceneSvg(scene, depthLook(scene))),
  segmentation: (scene) => rasterize(crisp(sceneSvg(scene, segmentLook(scene.appearance.noun)))),
  pose: (scene) => rasterize(skeletonSvg(scene)),
};

const SKETCH: Look = {
  ...flatLook({ region: () => '#000', part: ({ paint }) => (paint === INK ? '#fff' : '#000') }),
  ink: () => '#fff',
};

/** The subject's parts, from far to near. */
const SUBJECT_DEPTH = [195, 245] as const;

function depthLook({ backdrop }: SceneDescription): Look {
  const regions = drawBackground(backdrop);
  const gradients = regions.map(({ depth: [top, bottom] }, index) =>
    verticalGradient(`depth${index}`, [grey(top), grey(bottom)]),
  );
  return {
    ...flatLook({
      region: (_, index) => `url(#depth${index})`,
      part: (_, place) => grey(SUBJECT_DEPTH[0] + place * (SUBJECT_DEPTH[1] - SUBJECT_DEPTH[0])),
    }),
    defs: gradients.join(''),
  };
}

function segmentLook(noun: Noun): Look {
  return flatLook({ region: ({ kind }) => rgb(SEGMENT_COLORS[kind]), part: () => rgb(SEGMENT_COLORS[noun]) });
}

/** No blended colours along the borders, which would be those of other classes. */
function crisp(svg: string): string {
  return svg.replace('<svg ', '<svg shape-rendering="crispEdges" ');
}

export type Segment = Noun | RegionKind;
export const SEGMENTS: readonly Segment[] = [...NOUNS, ...REGIONS];

/**
 * A colour for each class, 0 to 255: nouns are bright, in steps of 20 degrees of hue, and regions dark, in steps of 30.
 */
export const SEGMENT_COLORS = Object.fromEntries([
  ...NOUNS.map((noun, index) => [noun, hsv((index * 360) / NOUNS.length, index % 2 === 0 ? 1 : 0.55, 255)]),
  ...REGIONS.map((kind, index) => [kind, hsv((index * 360) / REGIONS.length, index % 2 === 0 ? 0.9 : 0.5, 130)]),
]) as { readonly [S in Segment]: readonly [red: number, green: number, blue: number] };

function hsv(hue: number, saturation: number, value: number): [number, number, number] {
  const channel = (offset: number) => {
    const k = (offset + hue / 60) % 6;
    return Math.round(value * (1 - saturation * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}

function rgb([red, green, blue]: readonly [number, number, number]): string {
  return `rgb(${red},${green},${blue})`;
}

function grey(level: number): string {
  const byte = Math.round(level).toString(16).padStart(2, '0');
  return `#${byte}${byte}${byte}`;
}
