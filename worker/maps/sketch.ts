import type { Bitmap } from '../diffusion/resize.ts';
import { close, gaussianBlur, greyPlane, keepPatches, mapPlane, otsuThreshold, type Plane } from './filters.ts';

/** Widths and areas below are those of a picture of this side, and grow with it. */
const REFERENCE_SIDE = 512;
const MIN_PATCH = 30;

/**
 * Cleans a drawing of dark lines on bright paper, drawn, scanned or photographed: uneven light, the paper's tint and
 * specks go, the lines stay.
 * @returns one channel, white lines on black, as published scribble ControlNets take it
 */
export function cleanSketch(drawing: Bitmap): Bitmap {
  const grey = greyPlane(drawing);
  const scale = Math.max(drawing.width, drawing.height) / REFERENCE_SIDE;
  const lines = darkLines(grey, Math.max(3, Math.round(8 * scale)));
  // A blank page has nothing but the grain of its paper.
  const threshold = Math.max(MIN_CONTRAST, otsuThreshold(lines.values));
  return keepPatches(lines, { threshold, minPixels: minPixels(scale) });
}

const MIN_CONTRAST = 24;

/** How much darker a pixel is than the surface around it, 0 to 255, for what is narrower than 2 radius + 1. */
export function darkLines(grey: Plane, radius: number): Plane {
  const surface = close(grey, radius);
  return mapPlane(grey, (value, pixel) => (surface.values[pixel] ?? 0) - value);
}

/**
 * Draws a photo with lines: where it is darker than its surroundings, by an extended difference of Gaussians.
 * @returns one channel, white lines on black
 * @see Winnemöller et al., "XDoG: An eXtended difference-of-Gaussians compendium", 2012, equation 7 with a hard step
 */
export function sketchFromPhoto(photo: Bitmap): Bitmap {
  const grey = greyPlane(photo);
  const scale = Math.max(photo.width, photo.height) / REFERENCE_SIDE;
  const sigma = Math.max(0.8, 1.4 * scale);
  const [narrow, wide] = [gaussianBlur(grey, sigma), gaussianBlur(grey, WIDER * sigma)];
  const darkness = mapPlane(narrow, (value, pixel) => (wide.values[pixel] ?? 0) - value);
  return keepPatches(darkness, { threshold: DARKER, minPixels: minPixels(scale) });
}

/** Approximates the Laplacian of a Gaussian. */
const WIDER = 1.6;
/** Levels of 255 by which a line is darker than its surroundings. */
const DARKER = 5;

function minPixels(scale: number): number {
  return Math.max(4, Math.round(MIN_PATCH * scale));
}
