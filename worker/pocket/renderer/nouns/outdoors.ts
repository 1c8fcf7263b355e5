import {
  blob,
  box,
  circle,
  curve,
  ellipse,
  inkLine,
  mix,
  type Part,
  type Point,
  path,
  polygon,
  shape,
  spot,
  tube,
} from '../part.ts';
import type { Form } from '../world.ts';

const WOOD = '#8a5a34';
const LEAF = '#4da64f';
const GLASS = '#bfe3f2';

export function flower(form: Form): readonly Part[] {
  return [daisy, tulip, daisy, roundFlower][form.variant]?.(form) ?? [];
}

function daisy({ variant, wide, tall, detail }: Form): Part[] {
  const y = mix(-14, -20, tall);
  const reach = mix(19, 23, wide);
  const petals = variant === 0 ? 6 : 8;
  const ring = Array.from({ length: petals }, (_, index) => ((index + detail) * 2 * Math.PI) / petals);
  return [
    ...stem(y),
    ...ring.map((angle) =>
      shape('body', circle(reach * Math.sin(angle), y + reach * Math.cos(angle), petals === 6 ? 11.5 : 9)),
    ),
    shape(variant === 0 ? '#f8cf3c' : '#7a4a26', circle(0, y, 13)),
  ];
}

function tulip({ wide, tall, detail }: Form): Part[] {
  const y = mix(-16, -22, tall);
  const half = mix(19, 25, wide);
  return [
    ...stem(y),
    shape('shade', blob([0, y - 30], [14, y - 4], [0, y + 16], [-14, y - 4])),
    shape(
      'body',
      `${path([[-half, y - mix(20, 26, detail)]])}Q${-half * 0.4} ${y - 12} 0 ${y + 4}Q${half * 0.4} ${y - 12} ${half} ${y - mix(20, 26, detail)}Q${half + 10} ${y + 22} 0 ${y + 24}Q${-half - 10} ${y + 22} ${-half} ${y - mix(20, 26, detail)}z`,
    ),
  ];
}

/** Five broad petals. */
function roundFlower({ wide, tall, detail }: Form): Part[] {
  const y = mix(-14, -18, tall);
  const ring = Array.from({ length: 5 }, (_, index) => ((index + 0.5 * detail) * 2 * Math.PI) / 5);
  return [
    ...stem(y),
    ...ring.map((angle) => shape('body', circle(16 * Math.sin(angle), y + 16 * Math.cos(angle), mix(14, 16, wide)))),
    spot('body', circle(0, y, 15)),
    shape('#f8cf3c', circle(0, y, 10)),
  ];
}

function stem(top: number): Part[] {
  return [
    tube(LEAF, 5, curve([0, top + 8], [2, 30], [0, 47])),
    shape(LEAF, blob([1, 42], [12, 26], [32, 22], [22, 38])),
    shape(LEAF, blob([-1, 44], [-14, 32], [-32, 30], [-22, 44])),
  ];
}

export function tree(form: Form): readonly Part[] {
  return [leafTree, pine, roundTree, leafTree][form.variant]?.(form) ?? [];
}

function leafTree({ variant, wide, tall, detail }: Form): Part[] {
  const w = mix(0.85, 1.1, wide);
  const top = mix(-44, -50, tall);
  const crown: Point[] =
    variant === 0
      ? [
          [0, top],
          [24 * w, top + 10],
          [38 * w, -16],
          [34 * w, 6],
          [14 * w, 14],
          [-14 * w, 14],
          [-36 * w, 6],
          [-38 * w, -16],
          [-22 * w, top + 10],
        ]
      : [
          [4, top],
          [30 * w, top + 18],
          [40 * w, -2],
          [22 * w, 12],
          [4, 8],
          [-20 * w, 16],
          [-40 * w, 2],
          [-30 * w, -18],
          [-18 * w, top + 8],
        ];
  return [
    ...trunk(10, mix(7, 10, detail)),
    shape('body', blob(...crown)),
    inkLine(curve([-18 * w, -8], [-10, -2], [-2, -8]), 2.2),
    inkLine(curve([6, -26], [14, -20], [22 * w, -26]), 2.2),
  ];
}

function pine({ wide, tall, detail }: Form): Part[] {
  const half = mix(28, 36, wide);
  const top = mix(-46, -50, tall);
  return [
    ...trunk(28, mix(6, 8, detail)),
    shape('body', polygon([0, 0], [half, 36], [-half, 36])),
    shape('body', polygon([0, -22], [half * 0.82, 14], [-half * 0.82, 14])),
    shape('body', polygon([0, top], [half * 0.62, -8], [-half * 0.62, -8])),
  ];
}

function roundTree({ wide, tall, detail }: Form): Part[] {
  const half = mix(22, 34, wide);
  const y = mix(-16, -18, tall);
  return [
    ...trunk(8, mix(6, 9, detail)),
    tube(WOOD, 4, curve([0, 26], [10, 14])),
    shape('body', ellipse(0, y, half, mix(28, 32, tall))),
    spot('tint', ellipse(-half * 0.4, y - 10, half * 0.25, 8)),
  ];
}

function trunk(top: number, half: number): Part[] {
  return [
    shape(
      WOOD,
      `${path([
        [-half, top],
        [half, top],
      ])}L${half} 38Q${half} 46 ${half + 6} 49H${-half - 6}Q${-half} 46 ${-half} 38z`,
    ),
  ];
}

export function house(form: Form): readonly Part[] {
  return [cottage, wideHouse, tallHouse, cottage][form.variant]?.(form) ?? [];
}

function cottage({ variant, wide, tall, detail }: Form): Part[] {
  const half = mix(30, 38, wide);
  const eaves = mix(2, -6, tall);
  const door = variant === 0 ? -8 : -half + 10;
  return [
    shape('shade', box([half * 0.4, -42], [half * 0.4 + 12, eaves - 8])),
    shape('body', polygon([-half, eaves - 2], [0, -36], [half, eaves - 2], [half, 49], [-half, 49])),
    shape(
      'shade',
      polygon(
        [-half - 10, eaves + 2],
        [0, -48],
        [half + 10, eaves + 2],
        [half + 4, eaves + 7],
        [0, -35],
        [-half - 4, eaves + 7],
      ),
    ),
    ...doorAt(door, 16, detail < 0.5),
    ...windowAt(half - 22, 14),
    ...(variant === 0 ? windowAt(-half + 8, 14) : []),
  ];
}

function wideHouse({ wide, tall, detail }: Form): Part[] {
  const half = mix(38, 44, wide);
  const eaves = mix(4, -4, tall);
  return [
    shape('shade', box([-half * 0.6, -34], [-half * 0.6 + 12, eaves - 6])),
    shape('body', box([-half, eaves], [half, 49])),
    shape(
      'shade',
      polygon(
        [-half - 5, eaves + 3],
        [-half * 0.6, mix(-24, -32, tall)],
        [half * 0.6, mix(-24, -32, tall)],
        [half + 5, eaves + 3],
      ),
    ),
    ...doorAt(detail < 0.5 ? -8 : 14, 18, true),
    ...windowAt(-half + 9, 15),
    ...(detail < 0.5 ? windowAt(half - 23, 15) : windowAt(-12, 15)),
  ];
}

function tallHouse({ wide, tall, detail }: Form): Part[] {
  const half = mix(24, 30, wide);
  const eaves = mix(-18, -24, tall);
  return [
    shape('body', box([-half, eaves], [half, 49])),
    shape('shade', polygon([-half - 7, eaves + 3], [0, -49], [half + 7, eaves + 3])),
    ...windowAt(-half + 7, -10),
    ...windowAt(half - 21, -10),
    ...doorAt(detail < 0.5 ? -half + 6 : -8, 20, detail > 0.3),
    ...(detail < 0.5 ? windowAt(half - 21, 18) : []),
  ];
}

function doorAt(left: number, top: number, isRound: boolean): Part[] {
  return [
    shape('#7a4a2a', box([left, top + 2], [left + 16, 49], isRound ? 5 : 0)),
    spot('#f8cf3c', circle(left + 12, top + 18, 2)),
  ];
}

function windowAt(left: number, top: number): Part[] {
  return [
    shape(GLASS, box([left, top], [left + 14, top + 14], 1), 2.2),
    inkLine(
      path([
        [left + 7, top],
        [left + 7, top + 14],
      ]),
      1.6,
    ),
  ];
}
