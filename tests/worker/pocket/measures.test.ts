import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lineAgreement } from '../../../worker/maps/line-agreement.ts';
import { looks } from '../../../worker/pocket/evaluation/lessons.ts';
import { savePart, writePage } from '../../../worker/pocket/evaluation/page.ts';
import { drawScene } from '../../../worker/pocket/renderer/render-scene.ts';

describe('looks', () => {
  const seen = (...colors: string[]) => colors.map((color) => ({ answers: { color, pattern: 'plain' } }));
  test('is one where all pictures look alike, and their number where all differ', () => {
    expect(looks(seen('red', 'red', 'red'))).toBeCloseTo(1);
    expect(looks(seen('red', 'blue', 'green', 'pink'))).toBeCloseTo(4);
  });
  test('counts a rare look for little', () => {
    // exp(-(3/4·ln(3/4) + 1/4·ln(1/4)))
    expect(looks(seen('red', 'red', 'red', 'blue'))).toBeCloseTo(1.7548, 4);
  });
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
      measures: [missed],
      exhibits: [{ title: 'Some', pictures: [pixels, pixels], columns: 2 }],
    });
    await savePart(folder, 'speed', { measures: [{ ...missed, name: 'time', verdict: 'met' }], exhibits: [] });
    const page = join(folder, 'evaluation.md');
    await writePage(page, folder, { images: 'results' });
    const text = await readFile(page, 'utf8');
    expect(text).toContain('- noun: 81.0 %, goal 90.0 %');
    expect(text).not.toContain('- time');
    expect(text).toContain('- the part "dreambooth" has not been measured');
    expect(text).toContain('![Some](results/adherence-1.webp)');
    expect(await readdir(folder)).toContain('adherence-1.webp');
    await rm(folder, { recursive: true });
  });
});
