/**
 * What drawings are made of: closed shapes, thick lines and thin ink lines, painted in order. One list of parts gives the
 * picture and all of its control maps, so that the maps are exact.
 * Parts lie in a box from -50 to 50 with y downwards; a subject faces right and stands at y = 50.
 */

export type Point = readonly [x: number, y: number];

/** Colours of the palette by name, or a CSS colour. Only `body` carries the pattern. */
export type Paint = 'body' | 'shade' | 'tint' | (string & {});

export interface Part {
  /** Path data of SVG. */
  readonly d: string;
  /** Absent: an ink line without a filling. */
  readonly paint?: Paint;
  /** Width of a thick line with outlines, in box units. */
  readonly tube?: number;
  /** Width of the ink in 1/128 of the picture's side; 0 for none. */
  readonly ink: number;
}

/** Bold enough to survive the VAE's factor of 8. */
const OUTLINE = 2.6;
const FINE_LINE = 1.9;

export function shape(paint: Paint, d: string, ink: number = OUTLINE): Part {
  return { d, paint, ink };
}

/** A shape without an outline, for spots and shines. */
export function spot(paint: Paint, d: string): Part {
  return { d, paint, ink: 0 };
}

/** A thick line with outlines and round ends, for legs and handles. */
export function tube(paint: Paint, width: number, d: string): Part {
  return { d, paint, tube: width, ink: OUTLINE };
}

export function inkLine(d: string, ink: number = FINE_LINE): Part {
  return { d, ink };
}

/** A dark round dot that belongs to the drawing's lines, such as an eye. */
export function inkDot(x: number, y: number, radius: number): Part {
  return { d: circle(x, y, radius), paint: INK, ink: 0 };
}

export const INK = '#1d1b26';

export function mix(from: number, to: number, share: number): number {
  return from + (to - from) * share;
}

export function circle(x: number, y: number, radius: number): string {
  return ellipse(x, y, radius, radius);
}

export function ellipse(x: number, y: number, radiusX: number, radiusY: number): string {
  const arc = `a${round(radiusX)} ${round(radiusY)} 0 1 1 `;
  return `M${round(x - radiusX)} ${round(y)}${arc}${round(2 * radiusX)} 0${arc}${round(-2 * radiusX)} 0z`;
}

/** A rectangle by its corners, with round corners of this radius. */
export function box([left, top]: Point, [right, bottom]: Point, radius = 0): string {
  const r = Math.min(radius, (right - left) / 2, (bottom - top) / 2);
  const arc = (dx: number, dy: number) => `a${round(r)} ${round(r)} 0 0 1 ${round(dx)} ${round(dy)}`;
  return [
    `M${round(left + r)} ${round(top)}H${round(right - r)}${arc(r, r)}V${round(bottom - r)}${arc(-r, r)}`,
    `H${round(left + r)}${arc(-r, -r)}V${round(top + r)}${arc(r, -r)}z`,
  ].join('');
}

export function polygon(...points: readonly Point[]): string {
  return `${path(points)}z`;
}

/** Straight lines through the points. */
export function path(points: readonly Point[]): string {
  return points.map(([x, y], index) => `${index === 0 ? 'M' : 'L'}${round(x)} ${round(y)}`).join('');
}

/** A smooth closed curve through the points (Catmull-Rom). */
export function blob(...points: readonly Point[]): string {
  const at = (index: number) => points[(index + points.length) % points.length] ?? ORIGIN;
  return `${splines(points.length, at)}z`;
}

/** A smooth open curve through the points. */
export function curve(...points: readonly Point[]): string {
  const at = (index: number) => points[Math.min(Math.max(index, 0), points.length - 1)] ?? ORIGIN;
  return splines(points.length - 1, at);
}

/** A star with five points, the first one upwards. */
export function star(x: number, y: number, radius: number): string {
  const points = Array.from({ length: 10 }, (_, index): Point => {
    const length = index % 2 === 0 ? radius : radius * 0.45;
    const angle = (index * Math.PI) / 5;
    return [x + length * Math.sin(angle), y - length * Math.cos(angle)];
  });
  return polygon(...points);
}

const ORIGIN: Point = [0, 0];

/** Catmull-Rom as cubic Bezier curves: the tangent at a point is half the way between its neighbours. */
function splines(count: number, at: (index: number) => Point): string {
  const [startX, startY] = at(0);
  const pieces = Array.from({ length: count }, (_, index) => {
    const [before, from, to, after] = [at(index - 1), at(index), at(index + 1), at(index + 2)];
    const first = [from[0] + (to[0] - before[0]) / 6, from[1] + (to[1] - before[1]) / 6];
    const second = [to[0] - (after[0] - from[0]) / 6, to[1] - (after[1] - from[1]) / 6];
    return `C${[...first, ...second, ...to].map(round).join(' ')}`;
  });
  return `M${round(startX)} ${round(startY)}${pieces.join('')}`;
}

function round(value: number): number {
  return Math.round(100 * value) / 100;
}
