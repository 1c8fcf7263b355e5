import {
  blob,
  box,
  circle,
  curve,
  ellipse,
  INK,
  inkDot,
  inkLine,
  mix,
  type Part,
  polygon,
  shape,
  spot,
  tube,
} from '../part.ts';
import type { Form } from '../world.ts';

/** Cats look at us: round head, pointed ears, whiskers, a long tail. */
export function cat(form: Form): readonly Part[] {
  return [sittingCat, standingCat, lyingCat, sittingCat][form.variant]?.(form) ?? [];
}

function sittingCat({ variant, wide, tall, detail }: Form): Part[] {
  const girth = mix(20, 28, wide);
  const neck = mix(2, -6, tall);
  const tailTip =
    detail < 0.5 ? curve([-16, 42], [-38, 40], [-42, 16], [-32, 2]) : curve([-16, 44], [-40, 46], [-46, 28]);
  return [
    tube('body', 9, tailTip),
    shape(
      'body',
      blob(
        [0, neck - 8],
        [girth * 0.7, 12],
        [girth, 40],
        [girth * 0.8, 50],
        [-girth * 0.8, 50],
        [-girth, 38],
        [-girth * 0.7, 12],
      ),
    ),
    shape('tint', ellipse(1, 24, girth * 0.45, 14), 0),
    inkLine(curve([-5, 28], [-5, 49])),
    inkLine(curve([7, 28], [7, 49])),
    ...catHead(variant === 3 ? -4 : 3, neck - 24, 20),
  ];
}

function standingCat({ wide, tall, detail }: Form): Part[] {
  const bottom = 28;
  const top = mix(2, -6, wide);
  const tail =
    detail < 0.5 ? curve([-32, 8], [-46, -8], [-40, -34]) : curve([-32, 8], [-48, 0], [-44, -24], [-34, -30]);
  const leg = (x: number) => tube('body', 9, curve([x, bottom - 8], [x, 45]));
  return [
    tube('body', 8, tail),
    ...[-26, 10].map((x) => tube('shade', 9, curve([x + 7, bottom - 8], [x + 7, 45]))),
    shape('body', box([-37, top], [28, bottom + 4], 17)),
    leg(-28),
    leg(14),
    spot('body', box([-34, top + 18], [24, bottom + 1], 10)),
    ...catHead(28, mix(-6, -14, tall), 19),
  ];
}

function lyingCat({ wide, tall }: Form): Part[] {
  const top = mix(14, 4, tall);
  return [
    shape('body', blob([-44, 40], [-34, top + 8], [-8, top], [20, top + 8], [36, 36], [30, 50], [-30, 50])),
    tube('body', 9, curve([-40, 42], [-30, 47], [-8, 46])),
    tube('body', 9, curve([18, 46], [42, 46])),
    ...catHead(20, mix(2, -4, wide), 21),
  ];
}

function catHead(x: number, y: number, r: number): Part[] {
  const ear = (side: number) =>
    polygon([x + side * r * 0.95, y - r * 0.2], [x + side * r * 0.92, y - r * 1.45], [x + side * r * 0.2, y - r * 0.8]);
  const whisker = (side: number, dy: number) =>
    inkLine(curve([x + side * r * 0.45, y + r * 0.35], [x + side * r * 1.3, y + r * dy]), 1.4);
  return [
    shape('body', ear(-1)),
    shape('body', ear(1)),
    shape('body', ellipse(x, y, r * 1.08, r * 0.9)),
    spot('tint', ellipse(x, y + r * 0.42, r * 0.5, r * 0.36)),
    inkDot(x - r * 0.42, y - r * 0.08, r * 0.17),
    inkDot(x + r * 0.42, y - r * 0.08, r * 0.17),
    spot('#e86a7a', polygon([x - r * 0.17, y + r * 0.2], [x + r * 0.17, y + r * 0.2], [x, y + r * 0.4])),
    ...[-1, 1].flatMap((side) => [whisker(side, 0.2), whisker(side, 0.55)]),
  ];
}

/** Dogs are seen from the side: a long snout and a hanging ear. */
export function dog(form: Form): readonly Part[] {
  return [standingDog, sittingDog, longDog, standingDog][form.variant]?.(form) ?? [];
}

function standingDog({ variant, wide, tall, detail }: Form): Part[] {
  const back = mix(-2, -10, wide);
  const belly = mix(24, 18, tall);
  const tail =
    detail < 0.5 ? curve([-28, back + 6], [-44, back - 10], [-42, back - 22]) : curve([-28, back + 8], [-46, back + 4]);
  const stride = variant === 3 ? 6 : 0;
  const leg = (paint: string, x: number, dx: number) => tube(paint, 10, curve([x, belly - 8], [x + dx, 45]));
  return [
    tube('body', 7, tail),
    leg('shade', -18, -stride),
    leg('shade', 18, stride),
    shape('body', box([-35, back], [26, belly + 2], 14)),
    leg('body', -27, stride),
    leg('body', 11, -stride),
    spot('body', box([-33, belly - 14], [20, belly - 1], 6)),
    ...dogHead(24, back - 12, mix(0.95, 1.1, detail)),
  ];
}

function sittingDog({ wide, tall, detail }: Form): Part[] {
  const girth = mix(18, 24, wide);
  return [
    tube('body', 7, curve([-20, 42], [-38, 38], [-44, 24])),
    shape('body', blob([4, -16], [16, 4], [14, 40], [10, 50], [-girth, 50], [-girth - 4, 32], [-12, 0])),
    shape('body', ellipse(-girth * 0.5, 36, girth * 0.68, 14)),
    tube('body', 10, curve([10, 14], [11, 45])),
    ...dogHead(8, mix(-18, -26, tall), mix(1.05, 1.2, detail)),
  ];
}

/** A low dog with a long body. */
function longDog({ wide, tall, detail }: Form): Part[] {
  const back = mix(10, 4, tall);
  const rear = mix(-36, -44, wide);
  const leg = (paint: string, x: number) => tube(paint, 10, curve([x, 30], [x, 45]));
  return [
    tube(
      'body',
      6,
      detail < 0.5
        ? curve([rear + 4, back + 8], [-48, back - 10])
        : curve([rear + 4, back + 8], [-49, back + 2], [-46, back - 8]),
    ),
    leg('shade', rear + 18),
    leg('shade', 20),
    shape('body', box([rear, back], [26, 38], 14)),
    leg('body', rear + 9),
    leg('body', 11),
    spot('body', box([rear + 3, 22], [22, 35], 7)),
    ...dogHead(24, back - 12, 1),
  ];
}

function dogHead(x: number, y: number, s: number): Part[] {
  const at = (dx: number, dy: number): [number, number] => [x + dx * s, y + dy * s];
  return [
    shape(
      'body',
      blob(at(-14, -12), at(4, -18), at(14, -8), at(26, -3), at(27, 9), at(12, 13), at(4, 20), at(-12, 18), at(-17, 2)),
    ),
    shape('shade', blob(at(-12, -14), at(-3, -10), at(-3, 10), at(-11, 16), at(-18, 6))),
    inkDot(...at(6, -6), 2.9 * s),
    shape(INK, ellipse(...at(25, -1), 4.4 * s, 3.8 * s), 0),
    inkLine(curve(at(24, 7), at(15, 7))),
  ];
}

export function bird(form: Form): readonly Part[] {
  return [perchedBird, flyingBird, roundBird, perchedBird][form.variant]?.(form) ?? [];
}

function perchedBird({ variant, wide, tall, detail }: Form): Part[] {
  const belly = mix(28, 34, wide);
  const head = mix(-22, -30, tall);
  const crest = variant === 3 ? [shape('shade', polygon([12, head - 10], [2, head - 24], [22, head - 16]))] : [];
  return [
    ...birdLegs(-4, 12),
    shape('shade', polygon([-22, 8], [-50, mix(14, 24, detail)], [-44, mix(28, 36, detail)], [-18, 26])),
    ...crest,
    shape(
      'body',
      blob([20, head - 14], [32, head], [30, 10], [10, belly + 2], [-16, 28], [-28, 10], [-8, -6], [6, head - 4]),
    ),
    spot('tint', ellipse(14, 14, 12, 12)),
    shape('shade', blob([-2, -2], [10, 10], [-4, 24], [-34, 22], [-20, 6])),
    ...birdFace(22, head),
  ];
}

function flyingBird({ wide, tall, detail }: Form): Part[] {
  const wing = mix(-34, -46, tall);
  return [
    shape('shade', polygon([-24, 8], [-50, 4], [-46, 18], [-26, 18])),
    shape('shade', blob([8, 0], [2, wing + 12], [-14, wing], [-16, 4])),
    shape('body', blob([40, -8], [34, 14], [8, 26], [-22, 18], [-30, 10], [-10, 0], [18, -8], [28, -18])),
    spot('tint', ellipse(14, 14, 16, 7)),
    shape(
      'body',
      blob([12, 4], [-2, wing + 6], [mix(-24, -34, wide), wing - 2], [mix(-30, -38, wide), wing + 14], [-10, 10]),
    ),
    inkLine(curve([-14, wing + 16], [-8, -2])),
    ...birdFace(30, -6),
    ...(detail < 0.3 ? [] : [inkLine(curve([-26, wing + 20], [-16, 0]))]),
  ];
}

function roundBird({ wide, tall, detail }: Form): Part[] {
  const r = mix(30, 35, wide);
  const y = mix(10, 6, tall);
  return [
    ...birdLegs(-8, 10),
    shape('shade', polygon([-r + 6, y], [-49, y - 12], [-46, y + 8])),
    shape('body', ellipse(0, y, r, mix(29, 34, tall))),
    spot('tint', ellipse(8, y + 14, r * 0.6, 12)),
    shape('shade', blob([-4, y - 2], [-2, y + 14], [-20, y + 20], [-30, y + 4], [-18, y - 4])),
    ...(detail < 0.5
      ? [inkLine(curve([0, y - 32], [-4, y - 44]), 2.6), inkLine(curve([2, y - 32], [6, y - 43]), 2.6)]
      : []),
    ...birdFace(18, y - 12),
  ];
}

function birdFace(x: number, y: number): Part[] {
  return [
    shape('#f5a623', polygon([x + 9, y - 6], [x + 27, y + 2], [x + 9, y + 8])),
    spot('#ffffff', circle(x + 1, y - 3, 5.4)),
    inkDot(x + 2, y - 3, 3.6),
  ];
}

function birdLegs(left: number, right: number): Part[] {
  return [left, right].map((x) => tube('#f5a623', 4, `${curve([x, 26], [x, 47])}${curve([x, 47], [x + 7, 47])}`));
}

export function fish({ variant, wide, tall, detail }: Form): readonly Part[] {
  const length = [34, 40, 30, 36][variant] ?? 34;
  const half = mix(20, 26, tall) + ([0, -7, 8, 2][variant] ?? 0);
  const nose = mix(40, 46, wide);
  const rear = nose - 2 * length;
  const tail = rear - mix(16, 20, detail);
  const tailShape =
    variant === 1
      ? blob([rear + 6, 0], [tail, -24], [tail + 6, 0], [tail, 24])
      : polygon([rear + 8, 0], [tail, -24], [tail + 8, 0], [tail, 24]);
  const middle = nose - length;
  return [
    shape('shade', tailShape),
    shape(
      'shade',
      blob([middle - 14, -half + 6], [middle - 8, -half - 13], [middle + 14, -half - 6], [middle + 16, -half + 8]),
    ),
    shape('shade', polygon([middle - 2, half - 6], [middle - 14, half + 12], [middle + 12, half - 3])),
    shape(
      'body',
      blob(
        [nose, 2],
        [middle + length * 0.45, -half * 0.85],
        [middle - 4, -half],
        [rear, -5],
        [rear, 5],
        [middle - 4, half],
        [middle + length * 0.45, half * 0.9],
      ),
    ),
    inkLine(curve([nose - 22, -half * 0.66], [nose - 28, 0], [nose - 22, half * 0.7]), 2.2),
    shape('shade', blob([middle - 2, 2], [middle - 16, 0], [middle - 18, 12], [middle - 4, 10])),
    spot('#ffffff', circle(nose - 14, -5, 6.2)),
    inkDot(nose - 13, -5, 4),
    inkLine(curve([nose - 1, 7], [nose - 9, 9])),
  ];
}
