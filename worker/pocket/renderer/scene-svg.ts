import { drawBackground, type Region } from './backgrounds.ts';
import { drawNoun } from './nouns/draw-noun.ts';
import { blend } from './palette.ts';
import { INK, type Part } from './part.ts';
import { floats, type Placement, type SceneDescription } from './scene.ts';
import { type Palette, type Pattern, SIDE } from './world.ts';

/** How parts and regions turn into colours; a picture and each of its maps is one look. */
export interface Look {
  /** Colour of a filling. `place` is the part's place in the order of painting, 0 first to 1 last. */
  fill(part: Part, place: number): string;
  /** Colour of a part's ink. */
  ink(part: Part, place: number): string;
  region(region: Region, index: number): string;
  /** Gradients and patterns that the colours refer to. */
  readonly defs: string;
  /** Painted between background and subject. */
  readonly underSubject: string;
  /** Light and dark over a part that carries a pattern. */
  readonly shading: string | undefined;
}

export function sceneSvg(scene: SceneDescription, look: Look): string {
  return svg(`<defs>${look.defs}</defs>${backgroundSvg(scene, look)}${look.underSubject}${subjectSvg(scene, look)}`);
}

/** Wraps shapes in pixels of a 128 x 128 picture. */
export function svg(content: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${SIDE}" height="${SIDE}" viewBox="0 0 ${SIDE} ${SIDE}">${content}</svg>`;
}

/** The look of the picture itself. */
export function pictureLook(scene: SceneDescription): Look {
  const { appearance, placement, backdrop } = scene;
  const { palette, pattern } = appearance;
  const regions = drawBackground(backdrop);
  const body = pattern === 'plain' ? 'url(#light)' : 'url(#pattern)';
  return {
    fill: ({ paint = INK, tube }) => {
      // A gradient has no direction along a line without width.
      if (paint === 'body') return pattern === 'plain' && tube !== undefined ? palette.body : body;
      if (paint === 'shade') return palette.shade;
      return paint === 'tint' ? palette.tint : paint;
    },
    ink: () => INK,
    region: ({ fill }, index) => (typeof fill === 'string' ? fill : `url(#region${index})`),
    defs: [
      ...regions.map(({ fill }, index) => (typeof fill === 'string' ? '' : verticalGradient(`region${index}`, fill))),
      pattern === 'plain' ? lightGradient(palette) : `${patternDef(pattern, palette, placement)}${SHADING}`,
    ].join(''),
    underSubject: floats(appearance) ? '' : shadow(placement),
    shading: pattern === 'plain' ? undefined : 'url(#shading)',
  };
}

/** The look of a map: flat colours for regions and parts, the ink like the part it surrounds. */
export function flatLook({ region, part }: Pick<Look, 'region'> & { part: Look['fill'] }): Look {
  return { fill: part, ink: part, region, defs: '', underSubject: '', shading: undefined };
}

export function verticalGradient(id: string, [top, bottom]: readonly [string, string]): string {
  return `<linearGradient id="${id}" x2="0" y2="1"><stop stop-color="${top}"/><stop offset="1" stop-color="${bottom}"/></linearGradient>`;
}

function backgroundSvg({ backdrop }: SceneDescription, look: Look): string {
  return drawBackground(backdrop)
    .map((region, index) => `<path d="${region.d}" fill="${look.region(region, index)}"/>`)
    .join('');
}

function subjectSvg({ appearance, placement }: SceneDescription, look: Look): string {
  const parts = [...drawNoun[appearance.noun](appearance.form), ...(appearance.marks ?? [])];
  const scale = placement.size / 100;
  const drawn = parts.map((part, index) =>
    partSvg(part, { look, scale, place: index / Math.max(1, parts.length - 1) }),
  );
  return `<g transform="${subjectTransform(placement)}" stroke-linejoin="round" stroke-linecap="round">${drawn.join('')}</g>`;
}

/** From the subject's box to pixels. */
export function subjectTransform({ x, baseY, size, facing, tilt }: Placement): string {
  const scale = size / 100;
  return `translate(${x} ${baseY - size / 2}) rotate(${tilt}) scale(${facing === 'left' ? -scale : scale} ${scale})`;
}

function partSvg(part: Part, { look, scale, place }: { look: Look; scale: number; place: number }): string {
  const ink = part.ink / scale;
  const stroke = look.ink(part, place);
  if (part.paint === undefined) return `<path d="${part.d}" fill="none" stroke="${stroke}" stroke-width="${ink}"/>`;
  const fill = look.fill(part, place);
  if (part.tube !== undefined) {
    const line = (color: string, width: number) =>
      `<path d="${part.d}" fill="none" stroke="${color}" stroke-width="${width}"/>`;
    return line(stroke, part.tube + ink) + line(fill, part.tube - ink);
  }
  const outline = part.ink === 0 ? '' : ` stroke="${stroke}" stroke-width="${ink}"`;
  const shading =
    part.paint === 'body' && look.shading !== undefined ? `<path d="${part.d}" fill="${look.shading}"/>` : '';
  return shading === ''
    ? `<path d="${part.d}" fill="${fill}"${outline}/>`
    : `<path d="${part.d}" fill="${fill}"/>${shading}<path d="${part.d}" fill="none"${outline}/>`;
}

function lightGradient({ body, tint }: Palette): string {
  return `<linearGradient id="light" x2="0.5" y2="1"><stop stop-color="${blend(body, tint, 0.55)}"/><stop offset="0.45" stop-color="${body}"/><stop offset="1" stop-color="${blend(body, INK, 0.17)}"/></linearGradient>`;
}

const SHADING =
  '<linearGradient id="shading" x2="0.5" y2="1"><stop stop-color="#fff" stop-opacity="0.18"/><stop offset="0.45" stop-color="#fff" stop-opacity="0"/><stop offset="1" stop-color="#1d1b26" stop-opacity="0.2"/></linearGradient>';

/** Pixels from one stripe, dot or check to the next: more than one latent cell, so that it survives the VAE. */
const PERIOD = 11;

function patternDef(pattern: Exclude<Pattern, 'plain'>, { body, contrast }: Palette, { size }: Placement): string {
  const period = (PERIOD * 100) / size;
  const half = period / 2;
  const square = (x: number, y: number) =>
    `<rect x="${x}" y="${y}" width="${half}" height="${half}" fill="${contrast}"/>`;
  const tiles: { readonly [P in Exclude<Pattern, 'plain'>]: string } = {
    striped: `<rect y="${period * 0.56}" width="${period}" height="${period * 0.44}" fill="${contrast}"/>`,
    dotted: `<circle cx="${half}" cy="${half}" r="${period * 0.27}" fill="${contrast}"/>`,
    checked: `${square(0, 0)}${square(half, half)}`,
  };
  return `<pattern id="pattern" width="${period}" height="${period}" patternUnits="userSpaceOnUse"><rect width="${period}" height="${period}" fill="${body}"/>${tiles[pattern]}</pattern>`;
}

function shadow({ x, baseY, size }: Placement): string {
  return `<ellipse cx="${x}" cy="${baseY - 1}" rx="${size * 0.46}" ry="${size * 0.07}" fill="#1d1b26" fill-opacity="0.22"/>`;
}
