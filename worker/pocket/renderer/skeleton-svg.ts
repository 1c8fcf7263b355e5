import { KEY_POINTS, type KeyPoint, type Skeleton, skeletonOf } from './nouns/person.ts';
import type { SceneDescription } from './scene.ts';
import { subjectTransform, svg } from './scene-svg.ts';
import { SIDE } from './world.ts';

/** Limbs in the order of OpenPose's drawing, to which its colours belong. */
const LIMBS: readonly (readonly [KeyPoint, KeyPoint])[] = [
  ['neck', 'rightShoulder'],
  ['neck', 'leftShoulder'],
  ['rightShoulder', 'rightElbow'],
  ['rightElbow', 'rightWrist'],
  ['leftShoulder', 'leftElbow'],
  ['leftElbow', 'leftWrist'],
  ['neck', 'rightHip'],
  ['rightHip', 'rightKnee'],
  ['rightKnee', 'rightAnkle'],
  ['neck', 'leftHip'],
  ['leftHip', 'leftKnee'],
  ['leftKnee', 'leftAnkle'],
  ['neck', 'nose'],
  ['nose', 'rightEye'],
  ['rightEye', 'rightEar'],
  ['nose', 'leftEye'],
  ['leftEye', 'leftEar'],
];

/** Limbs are drawn at this share of full brightness, key points at full, as OpenPose does. */
const LIMB_BRIGHTNESS = 0.6;

/** Draws the skeleton of a scene's person; nothing but black for other nouns. */
export function skeletonSvg({ appearance, placement }: SceneDescription): string {
  const black = `<rect width="${SIDE}" height="${SIDE}"/>`;
  if (appearance.noun !== 'person') return svg(black);
  const drawn = skeletonShapes(skeletonOf(appearance.form));
  return svg(`${black}<g transform="${subjectTransform(placement)}">${drawn}</g>`);
}

function skeletonShapes(skeleton: Skeleton): string {
  const lines = LIMBS.map(([from, to], index) => {
    const [[x1, y1], [x2, y2]] = [skeleton[from], skeleton[to]];
    return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="${openPoseColor(index, LIMB_BRIGHTNESS)}" stroke-width="5" stroke-linecap="round"/>`;
  });
  const points = KEY_POINTS.map((point, index) => {
    const [x, y] = skeleton[point];
    return `<circle cx="${x}" cy="${y}" r="3.2" fill="${openPoseColor(index, 1)}"/>`;
  });
  return [...lines, ...points].join('');
}

/** OpenPose's colours: around the hues from red in steps of 20 degrees. */
function openPoseColor(index: number, brightness: number): string {
  const channel = (offset: number) => {
    const k = (offset + index / 3) % 6;
    return Math.round(255 * brightness * (1 - Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return `rgb(${channel(5)},${channel(3)},${channel(1)})`;
}
