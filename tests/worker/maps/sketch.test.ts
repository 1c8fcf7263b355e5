import { expect, test } from 'vitest';
import type { Bitmap } from '../../../worker/diffusion/resize.ts';
import { lineAgreement } from '../../../worker/maps/line-agreement.ts';
import { cleanSketch, sketchFromPhoto } from '../../../worker/maps/sketch.ts';
import { renderControlMap } from '../../../worker/pocket/renderer/control-maps.ts';
import { renderScene } from '../../../worker/pocket/renderer/render-scene.ts';
import { describeScene } from '../../../worker/pocket/renderer/scene.ts';
import { SIDE } from '../../../worker/pocket/renderer/world.ts';

const SEEDS = Array.from({ length: 12 }, (_, seed) => seed);

test('cleanSketch finds the lines of a drawing on shaded, grainy paper', async () => {
  for (const seed of SEEDS) {
    const sketch = await sketchOf(seed);
    const { f1 } = lineAgreement(cleanSketch(onPaper(sketch)), sketch);
    expect(f1).toBeGreaterThan(0.95);
  }
});

test('cleanSketch leaves an empty page empty', () => {
  const page = onPaper({ width: SIDE, height: SIDE, channels: 1, bytes: new Uint8Array(SIDE * SIDE) });
  expect(Math.max(...cleanSketch(page).bytes)).toBe(0);
});

test('sketchFromPhoto finds the ink of a picture, and little else where the background is plain', async () => {
  for (const seed of SEEDS) {
    const scene = describeScene(seed, { background: 'plain', pattern: 'plain' });
    const { pixels } = await renderScene(scene);
    const { f1 } = lineAgreement(
      sketchFromPhoto({ width: SIDE, height: SIDE, channels: 3, bytes: pixels }),
      await sketchOf(seed, scene),
    );
    expect(f1).toBeGreaterThan(0.9);
  }
});

async function sketchOf(seed: number, scene = describeScene(seed)): Promise<Bitmap> {
  const rgb = await renderControlMap(scene, 'sketch');
  return { width: SIDE, height: SIDE, channels: 1, bytes: rgb.filter((_, index) => index % 3 === 0) };
}

function onPaper({ bytes, ...size }: Bitmap): Bitmap {
  const drawn = bytes.map((line, pixel) => {
    const shadow = 1 - (0.3 * ((pixel % SIDE) + Math.floor(pixel / SIDE))) / (2 * SIDE);
    const grain = ((pixel * 7919) % 13) - 6;
    return Math.min(255, (230 * shadow + grain) * (1 - (0.7 * line) / 255));
  });
  return { ...size, bytes: drawn };
}
