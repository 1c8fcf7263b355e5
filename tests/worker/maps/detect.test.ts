import sharp from 'sharp';
import { expect, test } from 'vitest';
import type { Bitmap } from '../../../worker/diffusion/resize.ts';
import { detectKind, type PictureKind } from '../../../worker/maps/detect.ts';
import { CONTROL_MAPS, type ControlMapKind, renderControlMap } from '../../../worker/pocket/renderer/control-maps.ts';
import { renderScene } from '../../../worker/pocket/renderer/render-scene.ts';
import { describeScene, type SceneDescription } from '../../../worker/pocket/renderer/scene.ts';
import { SIDE } from '../../../worker/pocket/renderer/world.ts';

interface Labelled {
  kind: PictureKind;
  isInverted: boolean;
  how: string;
  picture: Bitmap;
}

const INVERTIBLE: readonly ControlMapKind[] = ['sketch', 'canny', 'depth'];

test('kind and polarity are told for maps as made, enlarged, compressed, inverted, and for drawings on paper', async () => {
  const labelled: Labelled[] = [];
  for (let seed = 40; seed < 48; seed++)
    labelled.push(...(await mapsOf(describeScene(seed, seed % 2 ? {} : { noun: 'person' }))));
  const wrong = labelled.filter(({ kind, isInverted, picture }) => {
    const detected = detectKind(picture);
    return detected.kind !== kind || detected.isInverted !== isInverted;
  });
  const report = wrong.map(
    ({ kind, isInverted, how, picture }) =>
      `${kind}${isInverted ? ' inverted' : ''} ${how}: ${JSON.stringify(detectKind(picture))}`,
  );
  console.log(`Told ${labelled.length - wrong.length} of ${labelled.length} pictures.\n${report.join('\n')}`);
  expect(wrong.length / labelled.length).toBeLessThan(0.03);
}, 60_000);

async function mapsOf(scene: SceneDescription): Promise<Labelled[]> {
  const { pixels } = await renderScene(scene);
  const kinds = CONTROL_MAPS.filter((kind) => kind !== 'pose' || scene.appearance.noun === 'person');
  const maps = await Promise.all(
    kinds.map(async (kind) => ({ kind, isInverted: false, bytes: await renderControlMap(scene, kind) })),
  );
  const inverted = maps
    .filter(({ kind }) => INVERTIBLE.includes(kind))
    .map(({ kind, bytes }) => ({ kind, isInverted: true, bytes: bytes.map((byte) => 255 - byte) }));
  const plain = [...maps, ...inverted, { kind: 'photo' as const, isInverted: false, bytes: pixels }];
  const variants = await Promise.all(
    plain.map(async ({ bytes, ...label }) => (await copies(bytes)).map((copy) => ({ ...label, ...copy }))),
  );
  const sketch = maps.find(({ kind }) => kind === 'sketch');
  const drawing = {
    kind: 'sketch' as const,
    isInverted: true,
    how: 'on paper',
    picture: await onPaper(sketch?.bytes ?? new Uint8Array(0)),
  };
  return [...variants.flat(), drawing];
}

async function copies(bytes: Uint8Array): Promise<{ how: string; picture: Bitmap }[]> {
  const original = () => sharp(bytes, { raw: { width: SIDE, height: SIDE, channels: 3 } });
  const jpeg = await original().jpeg({ quality: 85 }).toBuffer();
  const enlarged = original().resize(320, 320, { kernel: 'nearest' });
  return [
    { how: 'as made', picture: bitmap(bytes, SIDE) },
    { how: 'as JPEG', picture: bitmap(await sharp(jpeg).raw().toBuffer(), SIDE) },
    // Enlarged edges are thicker than one pixel and honestly look like a sketch.
    ...(isEdges(bytes) ? [] : [{ how: 'enlarged', picture: bitmap(await enlarged.raw().toBuffer(), 320) }]),
  ];
}

/** Canny edges, either way round, have no tone but black and white. */
function isEdges(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0 || byte === 255);
}

/** Dark lines on warm paper with a shadow over one corner and grain. */
async function onPaper(sketch: Uint8Array): Promise<Bitmap> {
  const bytes = Uint8Array.from(sketch, (line, index) => {
    const pixel = Math.floor(index / 3);
    const shadow = 1 - (0.25 * ((pixel % SIDE) + Math.floor(pixel / SIDE))) / (2 * SIDE);
    const grain = ((pixel * 7919) % 13) - 6;
    const paper = [236, 230, 214][index % 3] ?? 0;
    return Math.min(255, Math.max(0, (paper * shadow + grain) * (1 - (0.75 * line) / 255)));
  });
  return bitmap(bytes, SIDE);
}

function bitmap(bytes: Uint8Array, side: number): Bitmap {
  return { width: side, height: side, channels: 3, bytes: new Uint8Array(bytes) };
}
