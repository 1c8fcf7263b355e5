import {
  box,
  circle,
  curve,
  ellipse,
  inkDot,
  inkLine,
  mix,
  type Part,
  type Point,
  path,
  shape,
  tube,
} from '../part.ts';
import type { Form } from '../world.ts';

/** Key points in OpenPose's order (COCO, 18); seen from the front, so the person's right is on the left. */
export const KEY_POINTS = [
  'nose',
  'neck',
  'rightShoulder',
  'rightElbow',
  'rightWrist',
  'leftShoulder',
  'leftElbow',
  'leftWrist',
  'rightHip',
  'rightKnee',
  'rightAnkle',
  'leftHip',
  'leftKnee',
  'leftAnkle',
  'rightEye',
  'leftEye',
  'rightEar',
  'leftEar',
] as const;
export type KeyPoint = (typeof KEY_POINTS)[number];
export type Skeleton = { readonly [K in KeyPoint]: Point };

/** Angles in degrees from hanging down (0) outwards and up (180), of upper and lower arm or leg. */
interface Limbs {
  readonly rightArm: Point;
  readonly leftArm: Point;
  readonly rightLeg: Point;
  readonly leftLeg: Point;
}

const STANDING: Point = [6, 4];
/** Two poses for each variant, of which `detail` takes one. */
const POSES: readonly (readonly [Limbs, Limbs])[] = [
  [
    { rightArm: [24, 14], leftArm: [24, 14], rightLeg: STANDING, leftLeg: STANDING },
    { rightArm: [52, -50], leftArm: [52, -50], rightLeg: [10, 6], leftLeg: [10, 6] },
  ],
  [
    { rightArm: [24, 14], leftArm: [110, 160], rightLeg: STANDING, leftLeg: STANDING },
    { rightArm: [112, 164], leftArm: [50, -46], rightLeg: STANDING, leftLeg: [18, 12] },
  ],
  [
    { rightArm: [140, 165], leftArm: [140, 165], rightLeg: [14, 10], leftLeg: [14, 10] },
    { rightArm: [92, 92], leftArm: [92, 92], rightLeg: [26, 24], leftLeg: [26, 24] },
  ],
  [
    { rightArm: [46, 20], leftArm: [62, 96], rightLeg: [32, 6], leftLeg: [26, 30] },
    { rightArm: [128, 150], leftArm: [70, 40], rightLeg: [10, 4], leftLeg: [52, -20] },
  ],
];
const SKIN_TONES = ['#f2c9a1', '#dba574', '#a8703f', '#7d4d2b'];
const HAIR = ['#3a2a20', '#6b4020', '#c98f3a', '#25222c'];

export function skeletonOf({ variant, wide, tall, detail }: Form): Skeleton {
  const pose = POSES[variant]?.[detail < 0.5 ? 0 : 1];
  if (pose === undefined)
    throw new Error(`Cannot pose the person: the variant must be below ${POSES.length}, got ${variant}`);
  const shoulder = mix(11, 14, wide);
  const neck: Point = [0, mix(-20, -22, tall)];
  const hips = mix(11, 9, tall);
  const arm = (side: number, angles: Point) => joints([side * shoulder, neck[1] + 3], angles, [side * 14, 14]);
  const leg = (side: number, angles: Point) => joints([side * 7, hips], angles, [side * 18, 18]);
  const [right, left, rightLeg, leftLeg] = [
    arm(-1, pose.rightArm),
    arm(1, pose.leftArm),
    leg(-1, pose.rightLeg),
    leg(1, pose.leftLeg),
  ];
  const drop = 46 - Math.max(rightLeg[2][1], leftLeg[2][1]);
  const down = ([x, y]: Point): Point => [x, y + drop];
  const head = neck[1] - 14;
  return {
    nose: down([0, head + 3]),
    neck: down(neck),
    rightShoulder: down(right[0]),
    rightElbow: down(right[1]),
    rightWrist: down(right[2]),
    leftShoulder: down(left[0]),
    leftElbow: down(left[1]),
    leftWrist: down(left[2]),
    rightHip: down(rightLeg[0]),
    rightKnee: down(rightLeg[1]),
    rightAnkle: down(rightLeg[2]),
    leftHip: down(leftLeg[0]),
    leftKnee: down(leftLeg[1]),
    leftAnkle: down(leftLeg[2]),
    rightEye: down([-5, head]),
    leftEye: down([5, head]),
    rightEar: down([-12, head + 1]),
    leftEar: down([12, head + 1]),
  };
}

/** The joint, the next one and the end of a limb. */
function joints(start: Point, [upper, lower]: Point, [reach, length]: Point): [Point, Point, Point] {
  const side = Math.sign(reach);
  const step = ([x, y]: Point, degrees: number): Point => {
    const angle = (degrees * Math.PI) / 180;
    return [x + side * length * Math.sin(angle), y + length * Math.cos(angle)];
  };
  const middle = step(start, upper);
  return [start, middle, step(middle, lower)];
}

/** The shirt takes the colour and the pattern, trousers its shade. */
export function person(form: Form): readonly Part[] {
  const s = skeletonOf(form);
  const tone = Math.floor(form.wide * 997) % SKIN_TONES.length;
  const skin = SKIN_TONES[tone] ?? '#f2c9a1';
  const hair = HAIR[Math.floor(form.tall * 997) % HAIR.length] ?? '#3a2a20';
  const sleeve = (a: Point, b: Point, c: Point) => [
    tube(skin, 7, path([b, c])),
    tube('body', 9, path([a, b, [mix(b[0], c[0], 0.35), mix(b[1], c[1], 0.35)]])),
    shape(skin, circle(c[0], c[1], 4.6), 2),
  ];
  const leg = (a: Point, b: Point, c: Point, side: number) => [
    tube('shade', 10, path([a, b, c])),
    shape('#4a3a34', ellipse(c[0] + side * 3, c[1] + 1, 7.5, 4.2)),
  ];
  return [
    ...leg(s.rightHip, s.rightKnee, s.rightAnkle, -1),
    ...leg(s.leftHip, s.leftKnee, s.leftAnkle, 1),
    tube(skin, 7, path([s.neck, [s.neck[0], s.neck[1] - 5]])),
    ...sleeve(s.rightShoulder, s.rightElbow, s.rightWrist),
    ...sleeve(s.leftShoulder, s.leftElbow, s.leftWrist),
    shape('body', box([s.rightShoulder[0] - 3, s.neck[1] - 2], [s.leftShoulder[0] + 3, s.rightHip[1] + 4], 7)),
    ...head(s, { skin, hair, isLong: form.wide < 0.5 }),
  ];
}

function head(
  { nose: [x, y], rightEye, leftEye }: Skeleton,
  { skin, hair, isLong }: { skin: string; hair: string; isLong: boolean },
): Part[] {
  const cy = y - 4;
  const back = isLong ? [shape(hair, box([x - 15, cy - 14], [x + 15, cy + 15], 12))] : [];
  return [
    ...back,
    shape(skin, circle(x, cy, 13)),
    shape(
      hair,
      `${path([[x - 13.5, cy - 1]])}C${x - 14} ${cy - 19} ${x + 14} ${cy - 19} ${x + 13.5} ${cy - 1}Q${x + 4} ${cy - 5} ${x - 2} ${cy - 8}Q${x - 8} ${cy - 3} ${x - 13.5} ${cy - 1}z`,
      2,
    ),
    inkDot(rightEye[0], cy + 2, 1.9),
    inkDot(leftEye[0], cy + 2, 1.9),
    inkLine(curve([x - 4, cy + 7], [x, cy + 9], [x + 4, cy + 7])),
  ];
}
