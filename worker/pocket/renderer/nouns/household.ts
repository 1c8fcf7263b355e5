import {
  blob,
  box,
  circle,
  curve,
  ellipse,
  inkDot,
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

const WOOD = '#a8713f';
const METAL = '#b9bdc9';

export function chair(form: Form): readonly Part[] {
  return [woodenChair, armchair, kitchenChair, armchair][form.variant]?.(form) ?? [];
}

function woodenChair({ wide, tall, detail }: Form): Part[] {
  const half = mix(20, 26, wide);
  const top = mix(-40, -49, tall);
  const leg = (x: number, y: number) => tube(WOOD, 6, curve([x, 8], [x, y]));
  return [
    leg(-half + 12, 40),
    leg(half + 6, 40),
    tube(WOOD, 6, curve([-half + 1, top + 4], [-half + 1, 47])),
    tube(WOOD, 6, curve([half - 6, top + 4], [half - 6, 12])),
    shape('body', box([-half, top + 2], [half - 4, top + mix(22, 34, detail)], 5)),
    shape('body', polygon([-half - 2, 14], [-half + 10, 0], [half + 10, 0], [half, 14])),
    shape('shade', polygon([-half - 2, 14], [half, 14], [half + 10, 0], [half + 10, 5], [half, 20], [-half - 2, 20])),
    leg(-half + 1, 47),
    leg(half - 3, 47),
    spot('shade', box([-half - 1, 15], [half - 1, 19])),
  ];
}

function kitchenChair({ wide, tall, detail }: Form): Part[] {
  const half = mix(20, 25, wide);
  const top = mix(-42, -49, tall);
  return [
    ...[-half + 3, half - 3].map((x) => tube(METAL, 5, curve([x * 0.85, 14], [x * 1.15, 47]))),
    tube(METAL, 5, curve([-half + 5, top + 20], [-half + 5, 10])),
    tube(METAL, 5, curve([half - 5, top + 20], [half - 5, 10])),
    shape('body', detail < 0.5 ? ellipse(0, top + 19, half, 18) : box([-half, top], [half, top + 34], 12)),
    shape('body', ellipse(0, 12, half + 5, 8)),
  ];
}

function armchair({ variant, wide, tall }: Form): Part[] {
  const half = mix(24, 30, wide);
  const top = mix(-30, -42, tall);
  const radius = variant === 1 ? 16 : 6;
  return [
    ...[-half - 4, half + 4].map((x) => tube(WOOD, 6, curve([x, 40], [x, 47]))),
    shape('body', box([-half, top], [half, 30], radius)),
    shape('tint', box([-half + 3, 8], [half - 3, 26], 6)),
    shape('shade', box([-half + 3, 24], [half - 3, 42], 2)),
    shape('body', box([-half - 14, -4], [-half + 6, 43], 8)),
    shape('body', box([half - 6, -4], [half + 14, 43], 8)),
  ];
}

export function clock(form: Form): readonly Part[] {
  return [wallClock, alarmClock, squareClock, wallClock][form.variant]?.(form) ?? [];
}

function wallClock({ variant, wide, detail }: Form): Part[] {
  const rim = mix(8, 13, wide);
  return [
    shape('body', circle(0, 2, 47)),
    ...clockFace(0, 2, 47 - rim, detail),
    ...(variant === 3 ? [shape('body', circle(0, 2, 5), 2)] : []),
  ];
}

function alarmClock({ wide, tall, detail }: Form): Part[] {
  const r = mix(34, 38, wide);
  return [
    tube('shade', 7, curve([-18, 36], [-26, 46])),
    tube('shade', 7, curve([18, 36], [26, 46])),
    tube(METAL, 5, curve([-16, -32], [0, mix(-44, -47, tall)], [16, -32])),
    shape('shade', ellipse(-22, -30, 14, 10)),
    shape('shade', ellipse(22, -30, 14, 10)),
    shape('body', circle(0, 7, r)),
    ...clockFace(0, 7, r - 8, detail),
  ];
}

function squareClock({ wide, tall, detail }: Form): Part[] {
  const half = mix(36, 44, wide);
  return [
    ...[-half + 12, half - 12].map((x) => shape('shade', box([x - 7, 38], [x + 7, 49], 2))),
    shape('body', box([-half, mix(-36, -42, tall)], [half, 42], 12)),
    ...clockFace(0, 1, 31, detail),
  ];
}

function clockFace(x: number, y: number, r: number, detail: number): Part[] {
  const at = (hour: number, length: number): [number, number] => [
    x + r * length * Math.sin((hour * Math.PI) / 6),
    y - r * length * Math.cos((hour * Math.PI) / 6),
  ];
  const hour = 12 * detail;
  const minute = Math.floor(detail * 48) % 12;
  return [
    shape('#fbf8f0', circle(x, y, r), 2.2),
    ...[0, 3, 6, 9].map((tick) => inkLine(path([at(tick, 0.74), at(tick, 0.88)]), 2.6)),
    inkLine(path([[x, y], at(hour, 0.45)]), 3.6),
    inkLine(path([[x, y], at(minute, 0.72)]), 2.6),
    inkDot(x, y, 3.6),
  ];
}

export function cup(form: Form): readonly Part[] {
  return [mug, teacup, tallCup, mug][form.variant]?.(form) ?? [];
}

function mug({ variant, wide, tall, detail }: Form): Part[] {
  const half = mix(24, 30, wide);
  const top = mix(-26, -38, tall);
  const bottom = variant === 0 ? half : half - 6;
  return [
    tube('body', 9, curve([half - 12, top + 18], [half + 10, top + 16], [half + 12, 22], [half - 12, 30])),
    cupBody([-8, half], [top, 46], bottom),
    ...opening(-8, top, half),
    ...(detail < 0.4 ? steam(-8, top) : []),
  ];
}

function teacup({ wide, tall, detail }: Form): Part[] {
  const half = mix(28, 33, wide);
  const top = mix(-8, -20, tall);
  return [
    shape('shade', ellipse(-4, 42, 44, 7)),
    tube('body', 8, curve([half - 12, top + 10], [half + 8, top + 8], [half + 6, 20], [half - 16, 24])),
    shape(
      'body',
      `${path([
        [-6 - half, top],
        [-6 + half, top],
      ])}Q${half - 8} 38 8 41H-20Q${-half - 4} 38 ${-6 - half} ${top}z`,
    ),
    ...opening(-6, top, half),
    ...(detail < 0.5 ? steam(-6, top) : []),
  ];
}

function tallCup({ wide, tall, detail }: Form): Part[] {
  const half = mix(20, 26, wide);
  const top = mix(-38, -48, tall);
  return [
    tube('body', 8, curve([half - 14, top + 24], [half + 10, top + 24], [half + 8, 18], [half - 14, 20])),
    cupBody([-6, half], [top + 5, 46], half * mix(0.65, 0.85, detail)),
    ...opening(-6, top + 5, half),
  ];
}

function cupBody([x, half]: [number, number], [top, bottom]: [number, number], foot: number): Part {
  return shape(
    'body',
    `${path([
      [x - half, top],
      [x + half, top],
      [x + foot, bottom - 3],
    ])}Q${x} ${bottom + 7} ${x - foot} ${bottom - 3}z`,
  );
}

function opening(x: number, y: number, half: number): Part[] {
  return [shape('tint', ellipse(x, y, half, 8)), shape('#6b4226', ellipse(x, y + 1.5, half - 6, 4), 0)];
}

function steam(x: number, top: number): Part[] {
  return [-9, 9].map((dx) =>
    inkLine(curve([x + dx, top - 10], [x + dx + 4, top - 14], [x + dx - 2, top - 18], [x + dx + 3, top - 22])),
  );
}

export function lamp(form: Form): readonly Part[] {
  return [tableLamp, floorLamp, deskLamp, tableLamp][form.variant]?.(form) ?? [];
}

function tableLamp({ variant, wide, tall, detail }: Form): Part[] {
  const half = mix(30, 38, wide);
  const bottom = mix(-4, 4, tall);
  const base =
    variant === 0 ? blob([0, bottom + 4], [13, 26], [8, 44], [-8, 44], [-13, 26]) : box([-4, bottom], [4, 44], 2);
  return [
    shape('shade', base),
    shape('shade', ellipse(0, 45, mix(16, 22, detail), 5)),
    shape('#fff0a0', ellipse(0, bottom + 1, 8, 8)),
    shape('body', polygon([-half * 0.5, -46], [half * 0.5, -46], [half, bottom], [-half, bottom])),
  ];
}

function floorLamp({ wide, tall, detail }: Form): Part[] {
  const half = mix(18, 24, wide);
  const bottom = mix(-16, -22, tall);
  return [
    tube(METAL, 5, curve([0, bottom], [0, 46])),
    shape(METAL, ellipse(0, 46, mix(14, 18, detail), 4)),
    shape('#fff0a0', ellipse(0, bottom + 1, 7, 7)),
    shape('body', polygon([-half * 0.55, -49], [half * 0.55, -49], [half, bottom], [-half, bottom])),
  ];
}

function deskLamp({ wide, tall, detail }: Form): Part[] {
  const elbow: [number, number] = [mix(-26, -34, wide), mix(4, -4, tall)];
  return [
    tube(METAL, 6, path([[-8, 42], elbow, [8, -32]])),
    shape('shade', ellipse(-8, 44, mix(22, 27, detail), 6)),
    shape('#fff0a0', circle(27, -13, 9)),
    shape('body', polygon([2, -42], [16, -48], [46, -16], [16, 0])),
    inkDot(...elbow, 4),
  ];
}

export function teapot({ variant, wide, tall, detail }: Form): readonly Part[] {
  const half = mix(26, 30, wide);
  const top = [-14, -26, -6, -14][variant] ?? -14;
  const neck = variant === 1 ? half * 0.55 : half * 0.7;
  const body =
    variant === 1
      ? polygon([-neck, top], [neck, top], [half, 42], [half - 6, 47], [-half + 6, 47], [-half, 42])
      : blob([-neck, top], [neck, top], [half + 2, 18], [half * 0.7, 46], [-half * 0.7, 46], [-half - 2, 18]);
  const lid = top - mix(8, 13, tall);
  return [
    tube('body', 8, curve([-half + 8, top + 12], [-half - 16, top + 8], [-half - 16, 26], [-half + 2, 32])),
    shape(
      'body',
      blob(
        [half - 8, 34],
        [half - 4, 12],
        [half + 8, 6],
        [half + 12, top + 2],
        [half + 21, top - 2],
        [half + 20, 10],
        [half + 10, 30],
      ),
    ),
    shape('body', body),
    shape(
      'shade',
      blob([-neck - 2, top + 2], [-neck * 0.6, lid], [neck * 0.6, lid], [neck + 2, top + 2], [0, top + 6]),
    ),
    shape('shade', circle(0, lid - 4, mix(5, 7, detail))),
    spot('tint', ellipse(-half * 0.45, 12, 4.5, 11)),
  ];
}
