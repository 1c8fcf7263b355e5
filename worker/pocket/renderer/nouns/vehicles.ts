import {
  blob,
  box,
  circle,
  curve,
  ellipse,
  inkLine,
  mix,
  type Part,
  path,
  polygon,
  shape,
  spot,
  tube,
} from '../part.ts';
import type { Form } from '../world.ts';

const GLASS = '#bfe3f2';
const TYRE = '#3a3844';
const WOOD = '#a8713f';

export function car(form: Form): readonly Part[] {
  return [sedan, bus, beetle, pickup][form.variant]?.(form) ?? [];
}

function sedan({ wide, tall, detail }: Form): Part[] {
  const roof = mix(-16, -24, tall);
  const half = mix(20, 25, wide);
  return [
    shape('body', polygon([-half - 10, 10], [-half, roof], [half - 6, roof], [half + 12, 10])),
    shape(GLASS, polygon([-half - 3, 8], [-half + 4, roof + 6], [-3, roof + 6], [-3, 8]), 2),
    shape(GLASS, polygon([4, 8], [4, roof + 6], [half - 9, roof + 6], [half + 3, 8]), 2),
    shape('body', blob([-48, 14], [-44, 8], [30, 8], [46, 14], [50, 26], [48, 36], [0, 37], [-48, 36], [-50, 26])),
    ...headlight(44, 20),
    inkLine(curve([0, 12], [0, 33])),
    ...wheels(-27, 27, mix(12, 14, detail)),
  ];
}

function bus({ wide, tall, detail }: Form): Part[] {
  const roof = mix(-24, -34, tall);
  const front = mix(42, 48, wide);
  return [
    shape('body', box([-48, roof], [front, 36], 9)),
    ...[-40, -18, 4].map((x) => shape(GLASS, box([x, roof + 9], [x + 16, 4], 3), 2)),
    shape(GLASS, box([26, roof + 9], [front - 2, 8], 3), 2),
    spot('shade', box([-46, 15], [front - 2, 21])),
    ...headlight(front - 5, 26),
    ...wheels(-28, 26, mix(11, 13, detail)),
  ];
}

function beetle({ wide, tall, detail }: Form): Part[] {
  const roof = mix(-18, -26, tall);
  const half = mix(42, 48, wide);
  return [
    shape(
      'body',
      blob(
        [-half, 34],
        [-half - 1, 16],
        [-30, 0],
        [-16, roof],
        [6, roof],
        [22, 0],
        [half - 6, 8],
        [half, 22],
        [half, 35],
        [0, 37],
      ),
    ),
    shape(GLASS, blob([-22, 4], [-15, roof + 8], [-5, roof + 7], [-4, 4]), 2),
    shape(GLASS, blob([3, 4], [3, roof + 8], [8, roof + 9], [17, 4]), 2),
    ...headlight(half - 6, 19),
    inkLine(curve([-1, 10], [-1, 34])),
    ...wheels(-27, 27, mix(13, 15, detail)),
  ];
}

function pickup({ wide, tall, detail }: Form): Part[] {
  const roof = mix(-18, -26, tall);
  const hood = mix(28, 24, wide);
  return [
    shape(
      'body',
      polygon([-8, 12], [-6, roof], [18, roof], [hood + 4, 8], [50, 12], [50, 36], [-50, 36], [-50, 6], [-8, 6]),
    ),
    shape(GLASS, polygon([0, 8], [1, roof + 7], [15, roof + 7], [hood - 3, 8]), 2),
    inkLine(
      path([
        [-8, 8],
        [-8, 34],
      ]),
    ),
    ...headlight(45, 20),
    ...wheels(-29, 29, mix(12, 14, detail)),
  ];
}

function headlight(x: number, y: number): Part[] {
  return [shape('#fff2a8', ellipse(x, y, 4, 5), 1.8)];
}

function wheels(rear: number, front: number, radius: number): Part[] {
  return [rear, front].flatMap((x) => [
    shape(TYRE, circle(x, 49 - radius, radius)),
    spot('#d9d9de', circle(x, 49 - radius, radius * 0.45)),
  ]);
}

export function boat(form: Form): readonly Part[] {
  return [sailboat, tug, sailboat, steamer][form.variant]?.(form) ?? [];
}

function sailboat({ variant, wide, tall, detail }: Form): Part[] {
  const top = mix(-42, -50, tall);
  const boom = mix(-34, -42, wide);
  const sails =
    variant === 0
      ? [shape('tint', polygon([5, top + 8], [5, 16], [mix(30, 38, detail), 16]))]
      : [shape('#e0393e', polygon([3, top], [22, top + 6], [3, top + 13]), 2)];
  return [
    tube(WOOD, 4, curve([1, top], [1, 26])),
    ...sails,
    shape(
      '#fbf8f0',
      variant === 0
        ? polygon([-3, top + 4], [-3, 17], [boom, 17])
        : blob([-3, top + 14], [-24, top + 24], [boom, 14], [-20, 17], [-3, 16]),
    ),
    hull(mix(44, 49, wide)),
    spot('shade', polygon([-36, 38], [36, 38], [32, 46], [-31, 46])),
  ];
}

function tug({ wide, tall, detail }: Form): Part[] {
  const roof = mix(-12, -22, tall);
  const half = mix(15, 20, wide);
  return [
    shape('#e0a03a', box([-half + 2, roof - 22], [-half + 15, roof + 4], 1)),
    spot('#3a3844', box([-half + 2.5, roof - 21], [-half + 14.5, roof - 14])),
    shape('#fbf8f0', box([-half - 6, roof], [half, 24], 3)),
    ...[-half + 4, half - 8].map((x) => shape(GLASS, circle(x, mix(roof, 24, 0.45), mix(4.5, 6, detail)), 2)),
    hull(mix(44, 49, wide)),
    spot('shade', polygon([-36, 38], [36, 38], [32, 46], [-31, 46])),
  ];
}

function steamer({ wide, tall, detail }: Form): Part[] {
  const deck = mix(6, 0, tall);
  const chimneys = detail < 0.5 ? [-14, 8] : [-3];
  return [
    ...chimneys.map((x) => shape('shade', box([x, deck - 30], [x + 12, deck], 1))),
    shape('#fbf8f0', box([mix(-28, -34, wide), deck - 10], [28, 24], 3)),
    ...[-18, -2, 14].map((x) => shape(GLASS, circle(x, deck + 4, 4), 1.8)),
    hull(49),
    spot('shade', polygon([-38, 38], [38, 38], [32, 46], [-31, 46])),
  ];
}

function hull(half: number): Part {
  return shape(
    'body',
    `${path([
      [-half, 20],
      [half, 20],
    ])}Q${half - 6} 44 ${half - 18} 49H${-half + 16}Q${-half + 4} 42 ${-half} 20z`,
  );
}
