import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lineAgreement } from '../../../worker/maps/line-agreement.ts';
import { shareOut } from '../../../worker/pocket/evaluation/lesson-bench.ts';
import { newColors } from '../../../worker/pocket/evaluation/lessons.ts';
import { savePart, writePage } from '../../../worker/pocket/evaluation/page.ts';
import { meanDistance } from '../../../worker/pocket/evaluation/prior-preservation.ts';
import { paletteOf } from '../../../worker/pocket/renderer/palette.ts';
import { drawScene } from '../../../worker/pocket/renderer/render-scene.ts';
import { appearanceOf, SUBJECTS } from '../../../worker/pocket/renderer/subjects.ts';
import { COLORS } from '../../../worker/pocket/renderer/world.ts';

describe('meanDistance', () => {
  const vector = (...values: number[]) => Float32Array.from(values);
  test('is the mean of 1 - cosine over the pairs', () => {
    // Pairs at 0, 90 and 90 degrees.
    expect(meanDistance([vector(1, 0), vector(1, 0), vector(0, 1)])).toBeCloseTo(2 / 3);
    expect(meanDistance([vector(1, 0), vector(-1, 0)])).toBeCloseTo(2);
  });
});

describe('shareOut', () => {
  test('gives every subject as many pictures and no number twice, and all together at least what was asked', () => {
    const shares = shareOut({ subjects: ['dog', 'backpack', 'teapot'], samples: 200 });
    expect(shares.map(({ numbers }) => numbers.length)).toEqual([67, 67, 67]);
    expect(new Set(shares.flatMap(({ numbers }) => numbers)).size).toBe(201);
  });
});

test('newColors leaves out the colour that most of a subject has', async () => {
  for (const subject of SUBJECTS) {
    const { body } = appearanceOf(subject).palette;
    const named = COLORS.filter((color) => paletteOf(color).body === body);
    expect(newColors(subject)).toEqual(COLORS.filter((color) => !named.includes(color)));
  }
});

describe('lineAgreement', () => {
  const row = (...bytes: number[]) => ({ width: bytes.length, height: 1, channels: 1, bytes: Uint8Array.from(bytes) });
  test('forgives lines within the tolerance and counts those beyond', () => {
    const expected = row(255, 0, 0, 0, 0, 0, 0, 255);
    // One of two found lines is near an expected one, and one of two expected ones near a found one.
    expect(lineAgreement(row(0, 0, 255, 0, 255, 0, 0, 0), expected)).toEqual({ precision: 0.5, recall: 0.5, f1: 0.5 });
    expect(lineAgreement(expected, expected, 0).f1).toBe(1);
  });
  test('is 1 where neither side has a line, and 0 where one has', () => {
    expect(lineAgreement(row(0, 0), row(0, 0)).f1).toBe(1);
    expect(lineAgreement(row(0, 0), row(255, 0)).f1).toBe(0);
  });
});

describe('writePage', () => {
  test('keeps parts that were measured before, names misses, and links pictures that exist', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'evaluation-'));
    const { pixels } = await drawScene(1);
    const missed = { name: 'noun', goal: '90.0 %', seen: '81.0 %', samples: 10, verdict: 'missed' } as const;
    await savePart(folder, 'adherence', {
      about: 'Two pictures.',
      measures: [missed],
      exhibits: [{ title: 'Some', pictures: [pixels, pixels], columns: 2 }],
    });
    await savePart(folder, 'speed', { measures: [{ ...missed, name: 'time', verdict: 'met' }], exhibits: [] });
    const page = join(folder, 'evaluation.md');
    await writePage(page, folder, { images: 'results' });
    const text = await readFile(page, 'utf8');
    expect(text).toContain('- noun: 81.0 %, goal 90.0 %');
    expect(text).not.toContain('- time');
    expect(text).toMatch(/^Measured on [-0-9]+\. Two pictures\.$/m);
    expect(text).toContain('- the part "dreambooth" has not been measured');
    expect(text).toContain('![Some](results/adherence-1.webp)');
    expect(await readdir(folder)).toContain('adherence-1.webp');
    await rm(folder, { recursive: true });
  });
});
