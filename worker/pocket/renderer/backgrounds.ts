import { box, circle, ellipse, mix, type Point, polygon } from './part.ts';
import { type Background, type PlainColor, SIDE } from './world.ts';

/** What a piece of background is, for segmentation maps. */
export const REGIONS = [
  'sky',
  'sea',
  'sand',
  'grass',
  'woods',
  'building',
  'road',
  'snowfield',
  'nightSky',
  'wall',
  'floor',
  'backdrop',
] as const;
export type RegionKind = (typeof REGIONS)[number];

/** A flat piece of background in pixels of the 128 x 128 picture, without ink, so that the subject stands out. */
export interface Region {
  readonly d: string;
  /** A CSS colour, or the colours at its upper and lower end. */
  readonly fill: string | readonly [top: string, bottom: string];
  readonly kind: RegionKind;
  /** Nearness at its upper and lower end: 0 far to 255 near. */
  readonly depth: readonly [number, number];
}

export interface Backdrop {
  readonly background: Background;
  /** Present exactly if the background is plain. */
  readonly plainColor?: PlainColor;
  /** 0 high to 1 low. */
  readonly horizon: number;
  /** 0 to 1: moves what stands in the distance sideways. */
  readonly shift: number;
  /** 0 to 1: lesser differences. */
  readonly detail: number;
}

/** The pieces of a background, from far to near. */
export function drawBackground(backdrop: Backdrop): readonly Region[] {
  return DRAW[backdrop.background](backdrop);
}

const FAR = 12;
const NEAR_GROUND = 170;

const DRAW: { readonly [B in Background]: (backdrop: Backdrop) => Region[] } = {
  beach,
  forest,
  city,
  snow,
  night,
  desert,
  room,
  meadow,
  plain,
};

function band(kind: RegionKind, [top, bottom]: Point, fill: Region['fill'], depth: Region['depth']): Region {
  return { kind, fill, depth, d: box([0, top], [SIDE, bottom]) };
}

/** Reaches below the horizon, behind the waves of the hills. */
function sky(horizon: number, top: string, low: string): Region {
  return band('sky', [0, horizon + 16], [top, low], [FAR, FAR + 10]);
}

function inSky(fill: string, d: string): Region {
  return { kind: 'sky', fill, d, depth: [FAR, FAR] };
}

function cloud(x: number, y: number, size: number): Region {
  return inSky(
    '#ffffff',
    [
      circle(x - size, y, size * 0.8),
      circle(x, y - size * 0.4, size),
      circle(x + size, y, size * 0.75),
      box([x - size, y], [x + size, y + size * 0.75]),
    ].join(''),
  );
}

function beach({ horizon, shift, detail }: Backdrop): Region[] {
  const sea = mix(44, 62, horizon);
  const shore = sea + mix(16, 26, detail);
  const sand = (y: number) => `M0 ${y}Q32 ${y - 5} 64 ${y}T128 ${y}V128H0z`;
  return [
    sky(sea + 1, '#7cc8f2', '#d9f1fb'),
    inSky('#ffe27a', circle(mix(16, 112, shift), mix(14, 22, detail), 11)),
    cloud(mix(100, 24, shift), 24, 8),
    band('sea', [sea, shore + 8], ['#2383bd', '#54bcd9'], [FAR + 25, 80]),
    { kind: 'sea', fill: '#ffffff', d: sand(shore), depth: [80, 84] },
    { kind: 'sand', fill: ['#f7e3a8', '#e6c57e'], d: sand(shore + 3), depth: [84, NEAR_GROUND] },
  ];
}

function forest({ horizon, shift, detail }: Backdrop): Region[] {
  const ground = mix(66, 84, horizon);
  const pine = (x: number, height: number) => polygon([x - 15, ground + 2], [x, ground - height], [x + 15, ground + 2]);
  const trunk = (x: number) => `${box([x - 5, 0], [x + 5, ground + 6])}`;
  const trunks = [mix(-4, 16, shift), mix(104, 128, shift), mix(38, 84, detail)];
  return [
    band('sky', [0, ground + 1], ['#d8edb8', '#a9d59a'], [FAR, FAR + 20]),
    {
      kind: 'woods',
      fill: '#74b072',
      d: [6, 34, 62, 90, 118]
        .map((x, i) => pine(x + 10 * shift, 44 + 10 * ((i + Math.round(4 * detail)) % 3)))
        .join(''),
      depth: [50, 60],
    },
    {
      kind: 'woods',
      fill: '#3f7d4a',
      d: [-4, 28, 104, 130].map((x, i) => pine(x - 8 * shift, 30 + 12 * ((i + 1) % 2))).join(''),
      depth: [70, 80],
    },
    { kind: 'grass', fill: ['#7fa653', '#587c3c'], d: box([0, ground], [SIDE, SIDE]), depth: [80, NEAR_GROUND] },
    { kind: 'woods', fill: ['#7a583b', '#64462e'], d: trunks.map(trunk).join(''), depth: [100, 100] },
    { kind: 'woods', fill: '#2f6b3e', d: trunks.map((x) => ellipse(x, -2, 24, 16)).join(''), depth: [104, 104] },
  ];
}

function city({ horizon, shift, detail }: Backdrop): Region[] {
  const street = mix(78, 92, horizon);
  const towers = [0, 1, 2, 3, 4, 5].map((i) => {
    const left = i * 24 - 18 * shift;
    const top = street - 34 - 30 * Math.abs(Math.sin(1.7 * i + 6 * detail));
    return { left, top, right: left + 21, fill: ['#8fa0b8', '#b0929a', '#7d8fa8', '#a7a3b5'][i % 4] ?? '#8fa0b8' };
  });
  const windows = ({ left, top }: { left: number; top: number }) =>
    [5, 17, 29]
      .filter((y) => top + y + 6 < street)
      .flatMap((y) => [
        box([left + 4, top + y], [left + 8, top + y + 6]),
        box([left + 13, top + y], [left + 17, top + y + 6]),
      ])
      .join('');
  return [
    sky(street, '#a8cdea', '#eef3f4'),
    ...towers.map(
      (tower): Region => ({
        kind: 'building',
        fill: tower.fill,
        d: box([tower.left, tower.top], [tower.right, street]),
        depth: [50, 60],
      }),
    ),
    { kind: 'building', fill: '#ffe9a6', d: towers.map(windows).join(''), depth: [55, 55] },
    band('road', [street, street + 8], '#c9c5bd', [80, 90]),
    band('road', [street + 8, SIDE], ['#80838e', '#666973'], [90, NEAR_GROUND]),
    {
      kind: 'road',
      fill: '#f2efe4',
      d: [0, 1, 2]
        .map((i) => box([i * 50 - 30 * shift, street + 20], [i * 50 - 30 * shift + 26, street + 24]))
        .join(''),
      depth: [120, 120],
    },
  ];
}

function snow({ horizon, shift, detail }: Backdrop): Region[] {
  const ground = mix(62, 82, horizon);
  const hill = `M0 ${ground - 6}Q${mix(20, 60, shift)} ${ground - 30} ${mix(60, 100, shift)} ${ground - 4}T128 ${ground - 12}V128H0z`;
  const firs = [mix(8, 30, shift), mix(96, 120, detail)];
  const fir = (x: number) => polygon([x - 9, ground + 3], [x, ground - 26], [x + 9, ground + 3]);
  const flakes = Array.from({ length: 11 }, (_, i) =>
    circle((i * 53 + 90 * shift) % SIDE, (i * 37 + 70 * detail) % (ground - 6), 2.3),
  ).join('');
  return [
    sky(ground, '#93b4d3', '#cfdeec'),
    { kind: 'snowfield', fill: '#dbe7f2', d: hill, depth: [45, 60] },
    { kind: 'woods', fill: '#5c8576', d: firs.map(fir).join(''), depth: [70, 74] },
    {
      kind: 'snowfield',
      fill: ['#ffffff', '#e3ecf6'],
      d: `M0 ${ground}Q40 ${ground - 7} 80 ${ground}T128 ${ground - 2}V128H0z`,
      depth: [80, NEAR_GROUND],
    },
    inSky('#ffffff', flakes),
  ];
}

function night({ horizon, shift, detail }: Backdrop): Region[] {
  const ground = mix(84, 100, horizon);
  const x = mix(18, 110, shift);
  const stars = Array.from({ length: 10 }, (_, i) =>
    circle((i * 47 + 80 * detail) % SIDE, (i * 29 + 40 * shift) % (ground - 12), i % 3 === 0 ? 2.4 : 1.8),
  ).join('');
  return [
    band('nightSky', [0, ground + 16], ['#26336f', '#5565ab'], [FAR, FAR + 10]),
    { kind: 'nightSky', fill: '#fff3c2', d: stars, depth: [FAR, FAR] },
    { kind: 'nightSky', fill: '#fff1b0', d: circle(x, 20, 12), depth: [FAR, FAR] },
    { kind: 'nightSky', fill: '#2d3b79', d: circle(x + (detail < 0.5 ? 6 : -6), 16, 10), depth: [FAR, FAR] },
    {
      kind: 'grass',
      fill: ['#3f6b62', '#2f5450'],
      d: `M0 ${ground}Q32 ${ground - 10} 70 ${ground}T128 ${ground - 6}V128H0z`,
      depth: [70, NEAR_GROUND],
    },
  ];
}

function desert({ horizon, shift, detail }: Backdrop): Region[] {
  const ground = mix(66, 84, horizon);
  const x = shift < 0.5 ? mix(10, 26, detail) : mix(102, 118, detail);
  const cactus = [
    box([x - 4, ground - 32], [x + 4, ground + 8], 4),
    box([x - 13, ground - 22], [x - 8, ground - 8], 2.5),
    box([x - 13, ground - 12], [x, ground - 7], 2.5),
    box([x + 8, ground - 26], [x + 13, ground - 12], 2.5),
    box([x, ground - 17], [x + 13, ground - 12], 2.5),
  ].join('');
  return [
    sky(ground, '#f9c98a', '#fdecc8'),
    inSky('#fff6d8', circle(mix(100, 28, shift), 24, 12)),
    {
      kind: 'sand',
      fill: '#dc9a58',
      d: `M0 ${ground - 2}Q${mix(20, 50, detail)} ${ground - 24} 72 ${ground - 4}T128 ${ground - 10}V128H0z`,
      depth: [50, 60],
    },
    {
      kind: 'sand',
      fill: ['#edb96c', '#d9994e'],
      d: `M0 ${ground + 4}Q36 ${ground - 8} 76 ${ground + 2}T128 ${ground}V128H0z`,
      depth: [80, NEAR_GROUND],
    },
    { kind: 'woods', fill: '#5d9a57', d: cactus, depth: [95, 95] },
  ];
}

const WALLS = ['#ecdcc2', '#c9dbe4', '#dcd3e8', '#d6e3c6'];

function room({ horizon, shift, detail }: Backdrop): Region[] {
  const floor = mix(82, 96, horizon);
  const x = shift < 0.5 ? mix(8, 20, detail) : mix(84, 94, detail);
  const boards = [0, 1, 2, 3]
    .map((i) =>
      polygon(
        [i * 40 - 12 + 10 * shift, floor],
        [i * 40 - 10 + 10 * shift, floor],
        [i * 58 - 38, SIDE],
        [i * 58 - 42, SIDE],
      ),
    )
    .join('');
  return [
    band('wall', [0, floor], WALLS[Math.floor(4 * detail) % 4] ?? '#ecdcc2', [60, 60]),
    { kind: 'wall', fill: '#ffffff', d: box([x - 3, 11], [x + 29, 49], 1), depth: [62, 62] },
    {
      kind: 'wall',
      fill: ['#9fd6f5', '#d8effa'],
      d: `${box([x, 14], [x + 12, 46])}${box([x + 14, 14], [x + 26, 46])}`,
      depth: [40, 40],
    },
    band('wall', [floor - 5, floor], '#fbf7ee', [64, 64]),
    band('floor', [floor, SIDE], ['#b98755', '#a06f42'], [66, NEAR_GROUND]),
    { kind: 'floor', fill: '#8a5d36', d: boards, depth: [110, 130] },
  ];
}

function meadow({ horizon, shift, detail }: Backdrop): Region[] {
  const ground = mix(60, 80, horizon);
  const blossoms = Array.from({ length: 8 }, (_, i) =>
    circle((i * 41 + 60 * shift) % SIDE, ground + 14 + ((i * 23 + 30 * detail) % (SIDE - ground - 16)), 2.5),
  ).join('');
  return [
    sky(ground, '#79c3f0', '#d4eefb'),
    cloud(mix(20, 100, shift), mix(16, 26, detail), 9),
    cloud(mix(96, 36, shift), mix(34, 24, detail), 6),
    {
      kind: 'grass',
      fill: '#9bd27a',
      d: `M0 ${ground - 4}Q${mix(20, 50, detail)} ${ground - 24} 76 ${ground - 4}T128 ${ground - 12}V128H0z`,
      depth: [50, 60],
    },
    {
      kind: 'grass',
      fill: ['#7cc45c', '#54a344'],
      d: `M0 ${ground + 2}Q40 ${ground - 8} 80 ${ground + 2}T128 ${ground - 1}V128H0z`,
      depth: [75, NEAR_GROUND],
    },
    { kind: 'grass', fill: detail < 0.5 ? '#ffffff' : '#ffe36e', d: blossoms, depth: [120, 120] },
  ];
}

const PLAIN: { readonly [C in PlainColor]: readonly [string, string] } = {
  white: ['#ffffff', '#f4f3ef'],
  gray: ['#c9ccd2', '#b4b8c0'],
  blue: ['#c4e0f5', '#a5cdec'],
  green: ['#cdeac6', '#aedba8'],
  pink: ['#fbdce6', '#f4c2d3'],
  yellow: ['#fcf1bd', '#f6e391'],
};

function plain({ plainColor = 'white' }: Backdrop): Region[] {
  return [band('backdrop', [0, SIDE], PLAIN[plainColor], [40, 60])];
}
