import { join } from 'node:path';
import sharp from 'sharp';
import { expect, onTestFinished, test } from 'vitest';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { conditionFeeds } from '../../../worker/diffusion/sample-latents.ts';
import { alphasCumprod } from '../../../worker/diffusion/schedulers/noise-schedule.ts';
import { StableDiffusion } from '../../../worker/diffusion/stable-diffusion.ts';
import { VaeCodec } from '../../../worker/diffusion/vae-codec.ts';
import { float32Tensor } from '../../../worker/runtime/session.ts';
import { FeatureReader, featureDistance, likeness } from '../../../worker/training/likeness.ts';
import { saveTinyPipeline, type TinyUnet } from '../../support/tiny-folder.ts';
import { SIDE, saveTinyStudent } from '../../support/tiny-lesson.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

const SESSION = { device: 'cpu', threads: 1 } as const;
const vector = (...values: number[]) => Float32Array.from(values);

test('the distance of features is the mean of 1 - cos over all pairs, and no picture is its own pair', () => {
  const [east, north, diagonal] = [vector(2, 0), vector(0, 5), vector(1, 1)];
  expect(featureDistance([east], [east, north])).toBe(1);
  expect(featureDistance([east], [vector(3, 0)])).toBeCloseTo(0, 12);
  expect(featureDistance([east, north], [diagonal])).toBeCloseTo(1 - Math.SQRT1_2, 6);
  expect(featureDistance([east, diagonal], [east, diagonal])).toBeCloseTo(1 - Math.SQRT1_2, 6);
  expect(featureDistance([east], [east])).toBeUndefined();
  expect([likeness(0.5, 0.5), likeness(0, 0.5), likeness(0.75, 0.5)]).toEqual([0, 1, -0.5]);
});

/** Reads the features of plain pictures with a model of tiny random networks. */
async function openReader(save: (folder: string) => Promise<void>) {
  const folder = join(await temporaryFolder(), 'model');
  await save(folder);
  const model = await openModelFolder(folder);
  const pipeline = new StableDiffusion(model, { ...SESSION, dtype: 'float32' });
  const vae = new VaeCodec(model.vae, { ...SESSION, dtype: 'float32' });
  const request = {
    prompt: await pipeline.encodePrompt({ prompt: 'a photo of car' }),
    width: SIDE,
    height: SIDE,
    guidanceScale: 1,
  };
  const reader = await FeatureReader.create({
    ...SESSION,
    unet: model.unet,
    latentShape: [4, SIDE / 8, SIDE / 8],
    alphasCumprod: alphasCumprod(model.scheduler),
    conditions: conditionFeeds(model.unet.config, request, false),
  });
  onTestFinished(async () => {
    for (const owned of [pipeline, vae, reader]) await owned.dispose();
  });
  return async (background: string) => {
    const plain = sharp({ create: { width: 1, height: 1, channels: 3, background } });
    const [red, green, blue] = await plain.raw().toBuffer();
    const pixels = [red!, green!, blue!].flatMap((level) => Array<number>(SIDE * SIDE).fill(level / 127.5 - 1));
    const image = float32Tensor(Float32Array.from(pixels), [1, 3, SIDE, SIDE]);
    return reader.read((await vae.encode(image, (count) => new Float32Array(count))).data as Float32Array);
  };
}

const readAll = async (read: (colour: string) => Promise<Float32Array>, colours: readonly string[]) => {
  const features: Float32Array[] = [];
  for (const colour of colours) features.push(await read(colour));
  return features;
};

test('photos of the subject that the lesson has not seen are more like it than other pictures of the class', async () => {
  const read = await openReader(saveTinyStudent);
  const photos = await readAll(read, ['#803090', '#883898', '#7a2888', '#8a3a9a']);
  const heldOut = await readAll(read, ['#803494', '#853090']);
  const ofClass = await readAll(read, ['#c03020', '#20a040', '#3040c0', '#d0c020']);
  const others = await readAll(read, ['#e08040', '#108090', '#e0e0e0']);
  const base = featureDistance(ofClass, photos)!;
  const likenessOf = (pictures: Float32Array[]) => likeness(featureDistance(pictures, photos)!, base);
  expect(likenessOf(heldOut)).toBeGreaterThan(0.5);
  expect(likenessOf(heldOut)).toBeGreaterThan(likenessOf(others) + 0.4);
  expect(likenessOf(photos)).toBeGreaterThan(0.5);
});

test.each<TinyUnet>(['unet-sd2', 'unet-xl', 'unet-lcm'])('features are read with %s', async (unet) => {
  const read = await openReader((folder) => saveTinyPipeline(folder, { unet }));
  const [one, again, other] = [await read('#803090'), await read('#803090'), await read('#20a040')];
  expect(one).toEqual(again);
  expect(featureDistance([one], [other])!).toBeGreaterThan(1e-6);
});
