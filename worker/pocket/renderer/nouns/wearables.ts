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

const METAL = '#e8c35a';

/** A backpack is seen from the front: top handle, straps beside it, a big pocket. */
export function backpack({ variant, wide, tall, detail }: Form): readonly Part[] {
  const half = mix(26, 33, wide);
  const top = mix(-32, -38, tall);
  const radius = [22, 12, 30, 18][variant] ?? 20;
  const pocket = mix(10, 16, detail);
  return [
    tube('shade', 8, curve([-half + 5, top + 22], [-half - 12, 4], [-half - 9, 38], [-half + 4, 42])),
    tube('shade', 8, curve([half - 5, top + 22], [half + 12, 4], [half + 9, 38], [half - 4, 42])),
    tube('shade', 6, curve([-10, top + 3], [-8, top - 11], [8, top - 11], [10, top + 3])),
    ...(variant === 1 ? [shape('#d8c9a0', box([-half + 2, top - 8], [half - 2, top + 9], 8))] : []),
    shape('body', box([-half, top], [half, 49], radius)),
    shape('shade', box([-half + 7, pocket], [half - 7, 44], 8)),
    inkLine(curve([-half + 8, pocket + 9], [half - 8, pocket + 9]), 2.2),
    shape(METAL, box([-4, pocket + 5], [4, pocket + 14], 1), 1.6),
    ...(variant === 3 ? flap(half, top) : [inkLine(curve([-half + 5, -2], [0, -9], [half - 5, -2]), 2.2)]),
  ];
}

function flap(half: number, top: number): Part[] {
  return [
    shape('tint', `${path([[-half + 3, top + 14]])}Q0 ${top - 12} ${half - 3} ${top + 14}V-2Q0 12 ${-half + 3} -2z`),
    shape(METAL, box([-5, -4], [5, 9], 1), 1.8),
  ];
}

export function hat(form: Form): readonly Part[] {
  return [topHat, wideHat, beanie, cap][form.variant]?.(form) ?? [];
}

function topHat({ wide, tall, detail }: Form): Part[] {
  const half = mix(24, 29, wide);
  const top = mix(-34, -46, tall);
  const crown = `${path([[-half - 2, top]])}Q0 ${top + 7} ${half + 2} ${top}L${half - 2} 36H${-half + 2}z`;
  return [
    shape('shade', ellipse(0, 36, mix(44, 49, detail), 11)),
    shape('body', crown),
    shape('tint', ellipse(0, top, half + 2, 6)),
    shape('shade', polygon([-half + 0.5, 20], [half - 0.5, 20], [half - 2, 36], [-half + 2, 36])),
  ];
}

function wideHat({ wide, tall, detail }: Form): Part[] {
  const half = mix(22, 27, wide);
  const top = mix(-12, -24, tall);
  const dent = mix(2, 9, detail);
  return [
    shape('body', blob([-49, 24], [-20, 28], [20, 28], [49, 24], [34, 44], [0, 49], [-34, 44])),
    shape(
      'body',
      blob(
        [-half, 32],
        [-half + 3, top + 8],
        [-10, top],
        [0, top + dent],
        [10, top],
        [half - 3, top + 8],
        [half, 32],
        [0, 38],
      ),
    ),
    shape('shade', `${path([[-half + 0.5, 19]])}Q0 28 ${half - 0.5} 19L${half} 32Q0 42 ${-half} 32z`),
  ];
}

function beanie({ wide, tall, detail }: Form): Part[] {
  const half = mix(34, 41, wide);
  const top = mix(-18, -28, tall);
  return [
    shape('tint', circle(0, top - 8, mix(10, 14, detail))),
    shape('body', `${path([[-half, 32]])}C${-half} ${top - 14} ${half} ${top - 14} ${half} 32z`),
    shape('shade', box([-half - 4, 22], [half + 4, 46], 9)),
    ...[-22, -7, 8, 23].map((x) =>
      inkLine(
        path([
          [x, 27],
          [x, 41],
        ]),
        2,
      ),
    ),
  ];
}

function cap({ wide, tall, detail }: Form): Part[] {
  const half = mix(30, 35, wide);
  const top = mix(-24, -34, tall);
  return [
    shape('body', `${path([[-half - 10, 32]])}C${-half - 10} ${top - 8} ${half - 8} ${top - 8} ${half - 6} 32z`),
    inkLine(curve([-12, top + 6], [-2, 8], [0, 30]), 2.2),
    shape('shade', blob([-8, 30], [half - 6, 24], [mix(46, 50, detail), 38], [30, 42], [-6, 40])),
    shape('shade', ellipse(-10, top + 4, 6, 4)),
  ];
}

export function shoe(form: Form): readonly Part[] {
  return [sneaker, boot, heel, sneaker][form.variant]?.(form) ?? [];
}

function sneaker({ variant, wide, tall, detail }: Form): Part[] {
  const top = mix(-14, -22, tall) - (variant === 3 ? 14 : 0);
  const toe = mix(44, 49, wide);
  const lace = (x: number, y: number) =>
    inkLine(
      path([
        [x - 6, y - 6],
        [x + 6, y + 3],
      ]),
      2.6,
    );
  return [
    shape(
      'body',
      `${path([
        [-44, 38],
        [-42, top],
      ])}Q-28 ${top + 8} -12 ${top}L14 8Q${toe} 10 ${toe} 38z`,
    ),
    shape('shade', `${path([[20, 38]])}Q20 20 ${toe - 14} 14Q${toe} 18 ${toe} 38z`),
    lace(mix(-12, 14, 0.15), mix(top, 8, 0.3)),
    lace(mix(-12, 14, 0.5), mix(top, 8, 0.62)),
    lace(mix(-12, 14, 0.85), mix(top, 8, 0.95)),
    shape('#fbf8f0', box([-47, 35], [toe + 1, mix(46, 49, detail)], 6)),
  ];
}

function boot({ wide, tall, detail }: Form): Part[] {
  const top = mix(-38, -48, tall);
  const shaft = mix(8, 14, wide);
  return [
    shape(
      'body',
      `${path([
        [-34, 38],
        [-36, top],
        [shaft, top],
        [shaft - 2, 4],
      ])}Q42 8 44 38z`,
    ),
    shape('tint', box([-39, top], [shaft + 3, top + 13], 4)),
    ...(detail < 0.5 ? [inkLine(curve([-8, top + 16], [-8, 26]))] : [inkLine(curve([-34, 8], [shaft - 3, 8]))]),
    shape(
      'shade',
      `${path([
        [-37, 36],
        [46, 36],
        [46, 46],
        [-2, 46],
        [-4, 49],
        [-37, 49],
      ])}z`,
    ),
  ];
}

function heel({ wide, tall, detail }: Form): Part[] {
  const back = mix(-16, -26, tall);
  const toe = mix(44, 49, wide);
  return [
    shape('shade', polygon([-46, 8], [-30, 16], [-36, 49], [-43, 49])),
    shape(
      'body',
      `${path([
        [-48, 10],
        [-45, back],
      ])}Q-30 ${back + 22} -8 14Q8 26 16 ${mix(26, 20, detail)}Q40 28 ${toe} 47L6 47Q-12 40 -30 22z`,
    ),
    inkLine(
      path([
        [6, 48],
        [toe, 48],
      ]),
      3,
    ),
    spot('tint', ellipse(24, 34, 8, 4)),
  ];
}
