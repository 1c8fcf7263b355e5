import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../../shared/config.ts';
import type { ControlRequest } from '../../../worker/diffusion/controls.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { StableDiffusion } from '../../../worker/diffusion/stable-diffusion.ts';
import { resolveModel } from '../../../worker/models/registry.ts';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';
import { plainPrompt } from '../../../worker/pocket/renderer/captions.ts';
import { renderControlMap } from '../../../worker/pocket/renderer/control-maps.ts';
import { describeScene } from '../../../worker/pocket/renderer/scene.ts';
import { float32Tensor } from '../../../worker/runtime/session.ts';
import { floats } from '../../support/tiny-models.ts';

/** What the family may weigh in a clone. */
const LIMIT_BYTES = 24 * 2 ** 20;

const AREA = 128 * 128;

let pipeline: StableDiffusion;
beforeAll(async () => {
  const model = await openModelFolder(await resolveModel('pocket', loadConfig({})));
  pipeline = new StableDiffusion(model, { device: 'cpu', threads: 1, dtype: 'float32' });
});
afterAll(() => pipeline.dispose());

/** RGB planes of a picture, in [-1, 1]. */
async function picture(prompt: string, seed: number, controls: readonly ControlRequest[] = []): Promise<Float32Array> {
  const size = { width: 128, height: 128, numInferenceSteps: 12, guidanceScale: 3 };
  const loop = pipeline.generate({ prompt, seed, controls, ...size });
  for (let next = await loop.next(); ; next = await loop.next()) if (next.done) return floats(next.value.image);
}

/** Mean of a channel over the uppermost quarter of a picture. */
function sky(image: Float32Array, channel: 0 | 1 | 2): number {
  const plane = image.subarray(channel * 128 * 128, channel * 128 * 128 + 32 * 128);
  return plane.reduce((sum, value) => sum + value, 0) / plane.length;
}

describe('the shipped pocket model', () => {
  test('makes pictures of the place that the prompt names', async () => {
    const [night, snow, desert] = [
      await picture('a red car at night', 1),
      await picture('a red car in the snow', 1),
      await picture('a red car in a desert', 1),
    ];
    expect(night.every(Number.isFinite)).toBe(true);
    // The renderer's skies: dark blue, pale blue, and of the colour of sand.
    for (const channel of [0, 1, 2] as const) expect(sky(night, channel)).toBeLessThan(sky(snow, channel) - 0.3);
    expect(sky(desert, 0)).toBeGreaterThan(sky(desert, 2) + 0.2);
    expect(sky(snow, 2)).toBeGreaterThan(sky(desert, 2) + 0.1);
  });

  test('makes the same picture from the same seed and another from another', async () => {
    const [first, again, other] = [
      await picture('a blue cup', 3),
      await picture('a blue cup', 3),
      await picture('a blue cup', 4),
    ];
    expect(again).toEqual(first);
    expect(other.some((value, i) => Math.abs(value - first[i]!) > 0.5)).toBe(true);
  });
});

/** A sketch of a scene, as a control of this scale. */
async function sketchControl(sketch: Uint8Array, conditioningScale: number): Promise<ControlRequest> {
  return {
    kind: 'controlnet',
    folder: await resolveModel('pocket/sketch', loadConfig({}), 'controlnet'),
    loadImage: async (channels) => {
      const image = Float32Array.from({ length: channels * AREA }, (_, i) => sketch[3 * (i % AREA)]! / 255);
      return float32Tensor(image, [1, channels, 128, 128]);
    },
    conditioningScale,
    controlGuidanceStart: 0,
    controlGuidanceEnd: 1,
    isGuessMode: false,
  };
}

/** How much darker a picture is under the lines of a sketch than beside them. */
function inkUnder(sketch: Uint8Array, image: Float32Array): number {
  const brightness = (isLine: boolean) => {
    const pixels = Array.from({ length: AREA }, (_, i) => i).filter((i) => sketch[3 * i]! > 127 === isLine);
    return pixels.reduce((sum, i) => sum + image[i]! + image[AREA + i]! + image[2 * AREA + i]!, 0) / 3 / pixels.length;
  };
  return brightness(false) - brightness(true);
}

test('a shipped ControlNet draws its ink where the sketch has lines, and nothing changes at scale 0', async () => {
  const scene = describeScene(2002);
  const sketch = await renderControlMap(scene, 'sketch');
  const prompt = plainPrompt(scene.described);
  const free = await picture(prompt, 3);
  expect(await picture(prompt, 3, [await sketchControl(sketch, 0)])).toEqual(free);
  const steered = await picture(prompt, 3, [await sketchControl(sketch, 1)]);
  expect(inkUnder(sketch, steered)).toBeGreaterThan(inkUnder(sketch, free) + 0.3);
});

test('the pocket family is no heavier than a clone can bear', () => {
  const files = readdirSync(POCKET_FOLDER, { recursive: true, encoding: 'utf8' });
  // The judges measure the family and are no part of it.
  const weights = files.filter((file) => /^(model|controlnet-|adapter-).*\.safetensors$/.test(file));
  expect(weights.length).toBeGreaterThanOrEqual(3);
  const bytes = weights.reduce((sum, file) => sum + statSync(join(POCKET_FOLDER, file)).size, 0);
  expect(bytes).toBeLessThanOrEqual(LIMIT_BYTES);
});
