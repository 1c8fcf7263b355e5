import { describe, expect, test } from 'vitest';
import {
  CONTROL_MAPS,
  renderControlMap,
  SEGMENT_COLORS,
  SEGMENTS,
} from '../../../worker/pocket/renderer/control-maps.ts';
import { drawScene, renderScene } from '../../../worker/pocket/renderer/render-scene.ts';
import { describeScene } from '../../../worker/pocket/renderer/scene.ts';
import { drawSubject, HELD_OUT_SEED, SUBJECTS } from '../../../worker/pocket/renderer/subjects.ts';
import { BACKGROUNDS, COLORS, NOUNS, PATTERNS, SIDE } from '../../../worker/pocket/renderer/world.ts';

const BYTES = 3 * SIDE * SIDE;

describe('drawScene', () => {
  test('gives the same picture and caption for the same seed, and another for the next', async () => {
    const [first, again, next] = await Promise.all([drawScene(7), drawScene(7), drawScene(8)]);
    expect(first.pixels).toHaveLength(BYTES);
    expect(first).toEqual(again);
    expect(first.pixels).not.toEqual(next.pixels);
  });

  test('draws every noun in every form, colour, pattern and background without a blank', async () => {
    for (const [index, noun] of NOUNS.entries()) {
      for (let variant = 0; variant < 4; variant++) {
        const scene = describeScene(index, { noun, background: 'plain', plainColor: 'white' });
        const form = { ...scene.appearance.form, variant };
        const sketch = await renderControlMap({ ...scene, appearance: { ...scene.appearance, form } }, 'sketch');
        expect(
          share(sketch, (value) => value > 128),
          `${noun} ${variant}`,
        ).toBeGreaterThan(0.02);
      }
    }
  });

  test('captions say nothing that is not in the picture', () => {
    for (let seed = 0; seed < 2000; seed++) {
      const { caption, described } = describeScene(seed);
      const words = new Set(caption.split(/[ ,]+/));
      expect(words).toContain(described.noun);
      const colors = [described.color, ...(described.plainColor === undefined ? [] : [described.plainColor])];
      for (const color of COLORS) if (words.has(color)) expect(colors, caption).toContain(color);
      for (const pattern of PATTERNS.slice(1)) expect(words.has(pattern) && described.pattern !== pattern).toBe(false);
      for (const place of BACKGROUNDS) {
        if (place !== 'plain') expect(words.has(place) && described.background !== place, caption).toBe(false);
      }
    }
  });

  test('captions leave out each attribute now and then', () => {
    const scenes = Array.from({ length: 500 }, (_, seed) => describeScene(seed));
    const named = scenes.filter(({ caption, described }) => caption.includes(described.color));
    expect(named.length / scenes.length).toBeGreaterThan(0.75);
    expect(named.length / scenes.length).toBeLessThan(0.98);
  });
});

describe('renderControlMap', () => {
  test('every line of a sketch is ink in the picture', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const scene = describeScene(seed);
      const [{ pixels }, sketch] = await Promise.all([renderScene(scene), renderControlMap(scene, 'sketch')]);
      const lines = pixelsWhere(sketch, ([r]) => r === 255);
      expect(lines.length).toBeGreaterThan(50);
      for (const pixel of lines) expect(pixels[3 * pixel]).toBeLessThan(90);
    }
  });

  test('a segmentation holds no colour but those of the classes, and the noun covers its sketch', async () => {
    const known = new Set(SEGMENTS.map((segment) => SEGMENT_COLORS[segment].join()));
    expect(known.size).toBe(SEGMENTS.length);
    for (let seed = 0; seed < 20; seed++) {
      const scene = describeScene(seed);
      const segments = await renderControlMap(scene, 'segmentation');
      expect(pixelsWhere(segments, (color) => !known.has(color.join()))).toEqual([]);
      const noun = SEGMENT_COLORS[scene.appearance.noun].join();
      const lines = pixelsWhere(await renderControlMap(scene, 'sketch'), ([r]) => r === 255);
      for (const pixel of lines) expect([...segments.subarray(3 * pixel, 3 * pixel + 3)].join()).toBe(noun);
    }
  });

  test('the subject of a depth map is nearer than all around it', async () => {
    const scene = describeScene(3);
    const depth = await renderControlMap(scene, 'depth');
    const subject = new Set(pixelsWhere(await renderControlMap(scene, 'sketch'), ([r]) => r === 255));
    const nearest = Math.max(...pixelsWhere(depth, ([r]) => r < 180).map((pixel) => depth[3 * pixel] ?? 0));
    for (const pixel of subject) expect(depth[3 * pixel]).toBeGreaterThan(nearest);
  });

  test('a pose is drawn for a person, within its outline, and for nobody else', async () => {
    for (let seed = 0; seed < 8; seed++) {
      const scene = describeScene(seed, { noun: 'person' });
      const pose = pixelsWhere(await renderControlMap(scene, 'pose'), (color) => Math.max(...color) > 200);
      expect(pose.length).toBeGreaterThan(20);
      const segments = await renderControlMap(scene, 'segmentation');
      const person = SEGMENT_COLORS.person.join();
      const inside = pose.filter((pixel) => [...segments.subarray(3 * pixel, 3 * pixel + 3)].join() === person);
      expect(inside.length / pose.length).toBeGreaterThan(0.9);
    }
    expect(Math.max(...(await renderControlMap(describeScene(0, { noun: 'cup' }), 'pose')))).toBe(0);
  });

  test('every kind has the size of the picture', async () => {
    for (const kind of CONTROL_MAPS) expect(await renderControlMap(describeScene(1), kind)).toHaveLength(BYTES);
  });
});

describe('drawSubject', () => {
  test('keeps the individual and changes the place', async () => {
    for (const subject of SUBJECTS) {
      const [photo, heldOut] = await Promise.all([drawSubject(subject, 0), drawSubject(subject, HELD_OUT_SEED)]);
      expect(photo.scene.appearance).toEqual(heldOut.scene.appearance);
      expect(photo.scene.placement).not.toEqual(heldOut.scene.placement);
      expect(photo.pixels).not.toEqual(heldOut.pixels);
    }
  });
});

function pixelsWhere(rgb: Uint8Array, holds: (color: [number, number, number]) => boolean): number[] {
  const pixels = Array.from({ length: rgb.length / 3 }, (_, pixel) => pixel);
  return pixels.filter((pixel) => holds([rgb[3 * pixel] ?? 0, rgb[3 * pixel + 1] ?? 0, rgb[3 * pixel + 2] ?? 0]));
}

function share(bytes: Uint8Array, holds: (value: number) => boolean): number {
  return bytes.filter(holds).length / bytes.length;
}
