import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { loadLoraFile } from '../../../worker/diffusion/lora-file.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { PromptEncoder } from '../../../worker/diffusion/prompt-encoder.ts';
import { loadTextualInversionFile } from '../../../worker/diffusion/textual-inversion-file.ts';
import { loadTokenizer } from '../../../worker/diffusion/tokenizer.ts';
import { input } from '../../../worker/graph/operators.ts';
import { compile } from '../../../worker/runtime/compile.ts';
import { loadTensor, readSafetensorsHeader } from '../../../worker/runtime/safetensors.ts';
import { float32Tensor, type Tensor } from '../../../worker/runtime/session.ts';
import { loadLatestCheckpoint } from '../../../worker/training/checkpoint-file.ts';
import { type EncoderHooks, encodedPrompt } from '../../../worker/training/lesson-prompt.ts';
import { type LessonOptions, learnedName, loraLesson, loraTensorNames } from '../../../worker/training/lessons.ts';
import { loraModulesOf } from '../../../worker/training/lora-modules.ts';
import { ATTENTION_MODULES } from '../../../worker/training/lora-targets.ts';
import { promptTokens } from '../../../worker/training/prompt-tokens.ts';
import { initialState, trainedTensors } from '../../../worker/training/trainer.ts';
import { saveTinyPipeline } from '../../support/tiny-folder.ts';
import { runTinyLesson, savePhotos, saveTinyStudent } from '../../support/tiny-lesson.ts';
import { floats } from '../../support/tiny-models.ts';

const SESSION = { device: 'cpu', threads: 1 } as const;
const PROMPT = 'a photo of a red car';
/** Enough for every learning tensor to move. */
const STEPS = { maxTrainSteps: 4, learningRate: 1e-2, textEncoderLr: 1e-2, instancePrompt: PROMPT } as const;

let folder: string;
const inFolder = (...names: string[]) => join(folder, ...names);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-text-encoder-'));
  await saveTinyStudent(inFolder('sd1'));
  await saveTinyPipeline(inFolder('xl'), { unet: 'unet-xl' });
  await savePhotos(inFolder('photos'), ['#803090', '#e08040']);
});

afterAll(() => rm(folder, { recursive: true }));

async function embedsOf(
  model: string,
  loraFile?: string,
): Promise<{ promptEmbeds: Tensor; textEmbeds?: Tensor | undefined }> {
  const opened = await openModelFolder(model);
  const encoder = await PromptEncoder.load(opened, { ...SESSION, dtype: 'float32' });
  onTestFinished(() => encoder.dispose());
  const loras =
    loraFile === undefined ? [] : [{ weights: await loadLoraFile(loraFile, loraModulesOf(opened)), scale: 1 }];
  return encoder.encode({ prompt: PROMPT, loras });
}

const largestDifference = (a: Tensor | undefined, b: Tensor | undefined) => {
  const other = floats(b);
  return floats(a).reduce((most, value, i) => Math.max(most, Math.abs(value - other[i]!)), 0);
};

async function storedTensors(file: string): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const stored of (await readSafetensorsHeader(file)).tensors.values()) {
    values.set(stored.name, await loadTensor(stored));
  }
  return values;
}

test('dreambooth of the text encoder writes a folder in which every tensor of it has moved', async () => {
  const request = { instanceImages: inFolder('photos'), out: inFolder('dreambooth') };
  const settings = { method: 'dreambooth', withPriorPreservation: false, trainTextEncoder: true } as const;
  const { result } = await runTinyLesson(inFolder('sd1'), { ...settings, ...STEPS, useEma: true }, request);
  expect(await readdir(join(result, 'text_encoder'))).toEqual(await readdir(inFolder('sd1', 'text_encoder')));
  const [before, after] = await Promise.all(
    [inFolder('sd1'), result].map((path) => storedTensors(join(path, 'text_encoder', 'model.safetensors'))),
  );
  expect([...after!.keys()]).toEqual([...before!.keys()]);
  for (const [name, values] of after!) expect(values, name).not.toEqual(before!.get(name));
  const [base, taught] = [await embedsOf(inFolder('sd1')), await embedsOf(result)];
  expect(largestDifference(base.promptEmbeds, taught.promptEmbeds)).toBeGreaterThan(1e-2);
});

const RANK = 3;

/** What the lesson's own graph makes of the prompt with the factors that the lesson ended with. */
async function lessonEmbeds(
  model: string,
  out: string,
): Promise<{ promptEmbeds: Tensor; textEmbeds: Tensor | undefined }> {
  const opened = await openModelFolder(model);
  const options: LessonOptions = {
    unet: opened.unet.config,
    target: 'epsilon',
    batch: 1,
    latentSide: 8,
    tokens: 77,
    vaeScaleFactor: 8,
    hasMask: false,
    textEncoders: { encoders: opened.textEncoders, group: {} },
  };
  const { trainables } = loraLesson(options, { loraRank: RANK, loraAlpha: RANK, loraTargetModules: ATTENTION_MODULES });
  const parameters = (await loadLatestCheckpoint(`${out}.checkpoints`))!.groups['state']!.get('parameters')!.values;
  const zeros = new Map(trainables.map(({ name, shape }) => [name, new Float32Array(shape[0]! * shape[1]!)]));
  const state = initialState(trainables, zeros);
  const learned = trainedTensors(trainables, { ...state, vectors: { ...state.vectors, parameters } });
  const feeds: Record<string, Tensor> = {};
  const factor = (name: string, shape: number[]) => {
    feeds[name] = float32Tensor(learned.get(name)!, shape);
    return input(name, { shape, dtype: 'float32' });
  };
  const hooks: EncoderHooks = (component) => ({
    lora: (path, [rows, columns]) => {
      const name = learnedName(component, path);
      if (!learned.has(loraTensorNames.down(name))) return undefined;
      return {
        down: factor(loraTensorNames.down(name), [RANK, columns!]),
        up: factor(loraTensorNames.up(name), [rows!, RANK]),
      };
    },
  });
  const { encoderHiddenStates, textEmbeds } = encodedPrompt(options, opened.textEncoders).encode([0, 1], hooks);
  const checkpoints = Object.fromEntries(
    opened.textEncoders.map(({ component, checkpoint }) => [component, checkpoint]),
  );
  const session = await compile(
    { encoderHiddenStates, ...(textEmbeds && { textEmbeds }) },
    { ...SESSION, checkpoints },
  );
  onTestFinished(() => session.dispose());
  const tokens = Object.entries(await promptTokens(PROMPT, opened)).map(([name, { dims, data }]) => {
    return [name, { dtype: 'int64', dims: [1, ...dims], data: data as BigInt64Array }] as const;
  });
  const results = await session.run({ ...feeds, ...Object.fromEntries(tokens) });
  return { promptEmbeds: results['encoderHiddenStates']!, textEmbeds: results['textEmbeds'] };
}

describe.each(['sd1', 'xl'] as const)('dreambooth-lora of the text encoders of %s', (model) => {
  let file: string;
  let out: string;
  beforeAll(async () => {
    out = inFolder(`lora-${model}`);
    const settings = { method: 'dreambooth-lora', trainTextEncoder: true, loraRank: RANK } as const;
    const request = { instanceImages: inFolder('photos'), out };
    const given = { ...settings, ...STEPS, outputKohyaFormat: true };
    ({ result: file } = await runTinyLesson(inFolder(model), given, request));
  });

  test('writes files of which both spellings encode prompts as the lesson did', async () => {
    const kohya = join(out, 'pytorch_lora_weights_kohya.safetensors');
    const [base, wanted] = [await embedsOf(inFolder(model)), await lessonEmbeds(inFolder(model), out)];
    expect(largestDifference(base.promptEmbeds, wanted.promptEmbeds)).toBeGreaterThan(1e-2);
    const [diffusers, other] = [await embedsOf(inFolder(model), file), await embedsOf(inFolder(model), kohya)];
    expect(other).toEqual(diffusers);
    expect(largestDifference(diffusers.promptEmbeds, wanted.promptEmbeds)).toBeLessThan(1e-5);
    if (model === 'xl') expect(largestDifference(diffusers.textEmbeds, wanted.textEmbeds)).toBeLessThan(1e-5);
  });

  test('names the four projections of every layer that the UNet reads', async () => {
    const names = [...(await storedTensors(file)).keys()].filter((name) => name.startsWith('text_encoder'));
    expect(names[0]).toBe('text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight');
    // SDXL reads the layer before the last of its first encoder; the second one is read to its end, at EOS.
    const layers = model === 'sd1' ? 3 : 2 + 3;
    expect(names).toHaveLength(layers * 4 * 2);
  });
});

test.each(['sd1', 'xl'] as const)(
  'textual inversion of %s moves new rows of every encoder, and its file is the word',
  async (name) => {
    const settings = { method: 'textual-inversion', placeholderToken: '<toy>', initializerToken: 'photo' } as const;
    const request = { instanceImages: inFolder('photos'), out: inFolder(`inversion-${name}`) };
    const learning = { numVectors: 2, maxTrainSteps: 3, learningRate: 1e-1 };
    const { result } = await runTinyLesson(inFolder(name), { ...settings, ...learning }, request);
    const inversion = await loadTextualInversionFile(result);
    expect(inversion.token).toBe('<toy>');
    expect(Object.keys(inversion.vectors)).toHaveLength(name === 'sd1' ? 1 : 2);
    const model = await openModelFolder(inFolder(name));
    for (const { component, checkpoint, tokenizerFolder } of model.textEncoders) {
      const [id] = (await loadTokenizer(tokenizerFolder)).tokenize('photo');
      const stored = await storedTensors(join(checkpoint.folder, 'model.safetensors'));
      const table = stored.get('text_model.embeddings.token_embedding.weight')!;
      const [first, second] = inversion.vectors[component]!;
      const size = first!.length;
      // Both begin as the initializer, and their places in the prompt tell them apart.
      const start = table.slice(id! * size, (id! + 1) * size);
      expect(Math.hypot(...first!.map((value, i) => value - start[i]!))).toBeGreaterThan(0.1);
      expect(first).not.toEqual(second);
    }
    const encoder = await PromptEncoder.load(model, { ...SESSION, dtype: 'float32' });
    onTestFinished(() => encoder.dispose());
    const [plain, learned] = [
      await encoder.encode({ prompt: 'a photo of photo photo' }),
      await encoder.encode({ prompt: 'a photo of <toy>', embeddings: [inversion] }),
    ];
    expect(largestDifference(plain.promptEmbeds, learned.promptEmbeds)).toBeGreaterThan(1e-2);
  },
);
