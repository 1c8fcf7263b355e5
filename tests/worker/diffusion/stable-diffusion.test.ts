import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import type { ControlRequest } from '../../../worker/diffusion/controls.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import {
  type PictureRequest,
  type PictureResult,
  StableDiffusion,
} from '../../../worker/diffusion/stable-diffusion.ts';
import { loadTextualInversionFile } from '../../../worker/diffusion/textual-inversion-file.ts';
import { float32Tensor, type Tensor } from '../../../worker/runtime/session.ts';
import {
  saveTinyEmbedding,
  saveTinyLora,
  saveTinyNetwork,
  saveTinyPipeline,
  type TinyUnet,
} from '../../support/tiny-folder.ts';
import { floats, goldenControlImage, goldenInput, temporaryFolder, tinyConfigs } from '../../support/tiny-models.ts';

const REQUEST: PictureRequest = {
  prompt: 'a red cat',
  seed: 7,
  height: 64,
  width: 64,
  numInferenceSteps: 2,
  guidanceScale: 3,
};

async function open(folder: string): Promise<StableDiffusion> {
  return new StableDiffusion(await openModelFolder(folder), { device: 'cpu', threads: 1, dtype: 'float32' });
}

async function openTiny(unet: TinyUnet): Promise<StableDiffusion> {
  const folder = await temporaryFolder();
  await saveTinyPipeline(folder, { unet });
  const model = await open(folder);
  onTestFinished(() => model.dispose());
  return model;
}

/** Makes a picture and counts its steps. */
async function make(
  model: StableDiffusion,
  request: Partial<PictureRequest> = {},
): Promise<PictureResult & { steps: number }> {
  const steps = model.generate({ ...REQUEST, ...request });
  for (let count = 0; ; count++) {
    const { done, value } = await steps.next();
    if (done === true) return { ...value, steps: count };
    expect(value.stepIndex).toBe(count);
  }
}

async function picture(model: StableDiffusion, request: Partial<PictureRequest> = {}): Promise<Float32Array> {
  const { image } = await make(model, request);
  expect(floats(image).every(Number.isFinite)).toBe(true);
  return floats(image);
}

async function expectRefused(model: StableDiffusion, request: Partial<PictureRequest>, message: string): Promise<void> {
  const outcome = await make(model, request).then(
    () => 'a picture',
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(UserError);
  expect(outcome).toHaveProperty('message', expect.stringContaining(message));
}

const startImage = (height = 64, width = 64): Tensor => {
  const dims = [1, 3, height, width];
  return float32Tensor(
    floats(goldenInput('start', dims)).map((value) => value / Math.sqrt(3)),
    dims,
  );
};

const control = (kind: ControlRequest['kind'], folder: string, more: Partial<ControlRequest> = {}): ControlRequest => ({
  kind,
  folder,
  loadImage: async (channels) => goldenControlImage('cond', [1, channels, 64, 64]),
  conditioningScale: 1,
  controlGuidanceStart: 0,
  controlGuidanceEnd: 1,
  isGuessMode: false,
  ...more,
});

describe('picture of a Stable Diffusion 1 folder', () => {
  let root: string;
  let model: StableDiffusion;
  let plain: Float32Array;
  const inRoot = (name: string) => join(root, name);
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'sketchbooth-'));
    await saveTinyPipeline(inRoot('model'));
    await saveTinyNetwork(inRoot('controlnet'), 'ControlNetModel', tinyConfigs['controlnet-sd1']);
    await saveTinyNetwork(inRoot('adapter'), 'T2IAdapter', tinyConfigs['t2i-full']);
    await saveTinyLora(inRoot('lora.safetensors'));
    await saveTinyEmbedding(inRoot('embedding.safetensors'), { token: '<zorg>', vectors: 2, width: 12 });
    await saveTinyEmbedding(inRoot('wide.safetensors'), { token: '<wide>', vectors: 1, width: 16 });
    model = await open(inRoot('model'));
    plain = await picture(model);
  });
  afterAll(async () => {
    await model.dispose();
    await rm(root, { recursive: true });
  });

  test('is the same bytes when the seed is the same, in this session and in another', async () => {
    expect(await picture(model)).toEqual(plain);
    const other = await open(inRoot('model'));
    onTestFinished(() => other.dispose());
    expect(await picture(other)).toEqual(plain);
  });

  test('has the size that was asked for, in latents and pixels', async () => {
    const { latents, image, steps, truncated } = await make(model, { height: 72, width: 136 });
    expect(latents.dims).toEqual([1, 4, 9, 17]);
    expect(image.dims).toEqual([1, 3, 72, 136]);
    expect(steps).toBe(2);
    expect(truncated).toEqual([]);
  });

  test.each<[string, Partial<PictureRequest>]>([
    ['seed', { seed: 8 }],
    ['seed 0', { seed: 0 }],
    ['prompt', { prompt: 'a blue cat' }],
    ['negative prompt', { negativePrompt: 'dog' }],
    ['guidance scale', { guidanceScale: 1 }],
    ['number of steps', { numInferenceSteps: 3 }],
    ['scheduler', { schedulerName: 'euler' }],
    ['clip-skip', { clipSkip: 1 }],
    ['image to start from', { image: startImage(), strength: 0.9 }],
  ])('changes with another %s', async (_, request) => {
    expect(await picture(model, request)).not.toEqual(plain);
  });

  test('does not change with an empty negative prompt, or one that guidance leaves out', async () => {
    expect(await picture(model, { negativePrompt: '' })).toEqual(plain);
    const unguided = { guidanceScale: 1 };
    expect(await picture(model, { ...unguided, negativePrompt: 'dog' })).toEqual(await picture(model, unguided));
  });

  test('says which part of a long prompt was cut off', async () => {
    const words = Array.from({ length: 40 }, (_, i) => `word${i}`).join(' ');
    const { truncated } = await make(model, { prompt: `${words} the end` });
    expect(truncated).toHaveLength(1);
    expect(truncated[0]).toMatch(/the end$/);
  });

  test('takes as many steps from an image as its strength leaves, and stays closer to it with less', async () => {
    const image = startImage();
    const distances = [];
    for (const strength of [0.25, 0.5, 1]) {
      const { latents, steps } = await make(model, { image, strength, numInferenceSteps: 4 });
      expect(steps).toBe(4 * strength);
      const start = (await make(model, { image, strength: 0.01, numInferenceSteps: 100 })).latents;
      distances.push(Math.hypot(...floats(latents).map((value, i) => value - floats(start)[i]!)));
    }
    expect(distances).toEqual([...distances].sort((a, b) => a - b));
  });

  test('repaints only what the mask covers', async () => {
    const upper = Float32Array.from({ length: 64 * 64 }, (_, i) => (i < 32 * 64 ? 1 : 0));
    const request = {
      image: startImage(),
      mask: float32Tensor(upper, [1, 1, 64, 64]),
      strength: 0.5,
      numInferenceSteps: 4,
    };
    const [cat, dog] = [await make(model, request), await make(model, { ...request, prompt: 'a dog' })];
    // Latents [1, 4, 8, 8]: the upper four rows of each channel are repainted.
    const half = ({ latents }: PictureResult, from: number) =>
      floats(latents).filter((_, i) => Math.floor((i % 64) / 32) === from);
    expect(half(dog, 0)).not.toEqual(half(cat, 0));
    expect(half(dog, 1)).toEqual(half(cat, 1));
  });

  test('yields previews that decode', async () => {
    const steps = model.generate(REQUEST);
    const { done, value } = await steps.next();
    if (done === true) throw new Error('Cannot preview: there must be a first step');
    const preview = await model.decode(value.predOriginalSample);
    expect(preview.dims).toEqual([1, 3, 64, 64]);
    await steps.return(undefined as never);
  });

  test('is cancelled when nobody asks for the next step, and the next one is as ever', async () => {
    const steps = model.generate({ ...REQUEST, numInferenceSteps: 50 });
    await steps.next();
    await steps.next();
    expect(await picture(model)).toEqual(plain);
    expect(await steps.return(undefined as never)).toEqual({ done: true, value: undefined });
    expect(await steps.next()).toEqual({ done: true, value: undefined });
    expect(await picture(model)).toEqual(plain);
  });

  describe('with a textual inversion', () => {
    test('changes when the prompt holds its token, and only then', async () => {
      const embeddings = [await loadTextualInversionFile(inRoot('embedding.safetensors'))];
      expect(await picture(model, { embeddings })).toEqual(plain);
      const prompt = 'a red <zorg>';
      const learned = await picture(model, { prompt, embeddings });
      expect(learned).not.toEqual(await picture(model, { prompt }));
      expect(await picture(model, { prompt: 'a red <ZORG>', embeddings })).toEqual(learned);
      expect(await picture(model, { negativePrompt: '<zorg>', embeddings })).not.toEqual(plain);
      expect(await picture(model)).toEqual(plain);
    });

    test('is refused when its width is not that of the text encoder', async () => {
      const embeddings = [await loadTextualInversionFile(inRoot('wide.safetensors'))];
      const message = 'Cannot use the embedding <wide>: text_encoder of this model needs vectors of 12 numbers, got 16';
      await expectRefused(model, { embeddings }, message);
    });

    test('is refused when the token is a word that the vocabulary has, or comes twice', async () => {
      const embedding = await loadTextualInversionFile(inRoot('embedding.safetensors'));
      await expectRefused(
        model,
        { embeddings: [{ ...embedding, token: 'a</w>' }] },
        'it must be new to the vocabulary',
      );
      await expectRefused(model, { embeddings: [embedding, embedding] }, 'it must be new to the vocabulary');
    });
  });

  describe('with a LoRA', () => {
    const lora = (scale: number) => ({ file: inRoot('lora.safetensors'), scale });

    test('changes with it and its scale, and no longer without it', async () => {
      const one = await picture(model, { loras: [lora(1)] });
      expect(one).not.toEqual(plain);
      expect(await picture(model, { loras: [lora(0.5)] })).not.toEqual(one);
      expect(await picture(model)).toEqual(plain);
    });

    test('does not change when its scale is 0, or two of them cancel', async () => {
      const difference = (image: Float32Array) => Math.max(...image.map((value, i) => Math.abs(value - plain[i]!)));
      expect(difference(await picture(model, { loras: [lora(0)] }))).toBeLessThan(1e-4);
      expect(difference(await picture(model, { loras: [lora(1), lora(-1)] }))).toBeLessThan(1e-3);
    });

    test('is refused when the file is missing or the scale is no number', async () => {
      await expectRefused(model, { loras: [{ file: inRoot('absent.safetensors'), scale: 1 }] }, 'the file is missing');
      await expectRefused(model, { loras: [lora(Number.NaN)] }, 'its scale must be a number, got NaN');
    });
  });

  describe('with controls', () => {
    test.each(['controlnet', 'adapter'] as const)(
      'changes with a %s and its scale, and no longer without it',
      async (kind) => {
        const one = await picture(model, { controls: [control(kind, inRoot(kind))] });
        expect(one).not.toEqual(plain);
        expect(
          await picture(model, { controls: [control(kind, inRoot(kind), { conditioningScale: 0.5 })] }),
        ).not.toEqual(one);
        expect(await picture(model)).toEqual(plain);
      },
    );

    test('changes with a ControlNet and an adapter together, and with guess mode', async () => {
      const controlnet = control('controlnet', inRoot('controlnet'));
      const both = await picture(model, { controls: [controlnet, control('adapter', inRoot('adapter'))] });
      const alone = await picture(model, { controls: [controlnet] });
      expect(both).not.toEqual(alone);
      expect(await picture(model, { controls: [{ ...controlnet, isGuessMode: true }] })).not.toEqual(alone);
    });

    test('is refused when a control does not fit', async () => {
      const message = 'width and height must be multiples of 64, got 72 x 64';
      await expectRefused(model, { width: 72, controls: [control('adapter', inRoot('adapter'))] }, message);
    });
  });

  test.each<[string, Partial<PictureRequest>]>([
    ['width and height must be multiples of 8, got 64 x 60', { height: 60 }],
    ['clip-skip must be a whole number from 0 to 2, got 3', { clipSkip: 3 }],
    ['clip-skip must be a whole number from 0 to 2, got -1', { clipSkip: -1 }],
    ['clip-skip must be a whole number from 0 to 2, got 0.5', { clipSkip: 0.5 }],
    ['got 0', { numInferenceSteps: 0 }],
    ['got 1.5', { numInferenceSteps: 1.5 }],
    ['got 1001', { numInferenceSteps: 1001 }],
    ['the image must be [1, 3, 64, 64], got [1, 3, 64, 72]', { image: startImage(64, 72) }],
  ])('is refused because %s', async (message, request) => {
    await expectRefused(model, request, message);
  });
});

test('SDXL folder makes pictures that change with either prompt', async () => {
  const model = await openTiny('unet-xl');
  const plain = await picture(model);
  expect(await picture(model)).toEqual(plain);
  // Without a negative prompt the embeddings are zeros, and not those of the empty text.
  expect(await picture(model, { negativePrompt: '' })).not.toEqual(plain);
  expect(await picture(model, { prompt: 'a blue cat' })).not.toEqual(plain);
  expect(await picture(model, { clipSkip: 1 })).not.toEqual(plain);
  await expectRefused(model, { clipSkip: 2 }, 'clip-skip must be a whole number from 0 to 1, got 2');
});

test('inpainting folder makes pictures when there is a mask, and asks for one', async () => {
  const model = await openTiny('unet-inpaint');
  const mask = float32Tensor(new Float32Array(64 * 64).fill(1), [1, 1, 64, 64]);
  expect(await picture(model, { image: startImage(), mask })).toHaveLength(3 * 64 * 64);
  await expectRefused(model, {}, 'an inpainting model needs an image and a mask, got none');
});

test('LCM folder makes pictures that change with the guidance scale', async () => {
  const model = await openTiny('unet-lcm');
  expect(await picture(model, { guidanceScale: 8 })).not.toEqual(await picture(model));
});

test('tokenizer is refused when its vocabulary is larger than that of the text encoder', async () => {
  const folder = await temporaryFolder();
  await saveTinyPipeline(folder);
  await saveTinyNetwork(join(folder, 'text_encoder'), 'CLIPTextModel', tinyConfigs['clip-quickgelu']);
  const model = await open(folder);
  onTestFinished(() => model.dispose());
  const message = 'the tokenizer of text_encoder must have at most 120 tokens, got 656';
  await expectRefused(model, {}, message);
});

describe('disposing of a model', () => {
  test('leaves nothing in the folder and ends pictures that are under way', async () => {
    const folder = await temporaryFolder();
    await saveTinyPipeline(folder);
    const files = (await readdir(folder, { recursive: true })).sort();
    const model = await open(folder);
    const steps = model.generate(REQUEST);
    await steps.next();
    await model.dispose();
    await expect(steps.next()).rejects.toThrow('it has been disposed of');
    expect((await readdir(folder, { recursive: true })).sort()).toEqual(files);
  });

  test('is possible before anything was loaded, and twice', async () => {
    const folder = await temporaryFolder();
    await saveTinyPipeline(folder);
    const model = await open(folder);
    await model.dispose();
    await model.dispose();
  });

  test('is possible after loading failed', async () => {
    const folder = await temporaryFolder();
    await saveTinyPipeline(folder);
    const model = await open(folder);
    await rm(join(folder, 'text_encoder', 'model.safetensors'));
    await expect(make(model)).rejects.toThrow();
    await model.dispose();
  });
});
