import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';
import { completeSettings } from '../../../worker/training/complete-settings.ts';
import { defaultSettings, type ModelTraits, traitsOf } from '../../../worker/training/default-settings.ts';
import {
  brokenRule,
  type GivenSettings,
  hasSetting,
  type SettingName,
  TRAINING_METHODS,
  type TrainingMethod,
} from '../../../worker/training/settings.ts';
import { saveTinyPipeline } from '../../support/tiny-folder.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

const SD: ModelTraits = { family: 'sd', side: 512 };
const SDXL: ModelTraits = { family: 'sdxl', side: 1024 };

/** Figures of training.md, by the section that states them. */
const PUBLISHED: readonly (readonly [section: string, TrainingMethod, ModelTraits, Record<string, unknown>])[] = [
  ['3.1', 'dreambooth', SD, { learningRate: 5e-6, trainBatchSize: 1, maxTrainSteps: 800, numClassImages: 200 }],
  ['3.1', 'dreambooth', SD, { withPriorPreservation: true, priorLossWeight: 1, trainTextEncoder: false }],
  ['3.1', 'dreambooth', SD, { textEncoderLr: 2e-6, lrScheduler: 'constant', lrWarmupSteps: 500, useEma: false }],
  ['3.1', 'dreambooth', SD, { maxGradNorm: 1, checkpointingSteps: 500, validationSteps: 100, resolution: 512 }],
  ['1', 'dreambooth', SD, { adamBeta1: 0.9, adamBeta2: 0.999, adamWeightDecay: 1e-2, adamEpsilon: 1e-8 }],
  ['3.2', 'dreambooth-lora', SD, { learningRate: 1e-4, loraRank: 4, loraAlpha: 4, maxTrainSteps: 500 }],
  ['3.2', 'dreambooth-lora', SD, { trainBatchSize: 1, resolution: 512, withPriorPreservation: false }],
  ['3.3', 'dreambooth-lora', SDXL, { learningRate: 1e-4, textEncoderLr: 5e-6, loraRank: 4, resolution: 1024 }],
  ['3.3', 'dreambooth-lora', SDXL, { adamWeightDecay: 1e-4, adamWeightDecayTextEncoder: 1e-3 }],
  ['4.1', 'textual-inversion', SD, { numVectors: 1, gradientAccumulationSteps: 4, trainBatchSize: 1 }],
  ['4.1', 'textual-inversion', SD, { learningRate: 5e-4 * 4, maxTrainSteps: 3000, adamWeightDecay: 1e-2 }],
  ['5.1', 'controlnet', SD, { learningRate: 1e-5, trainBatchSize: 4, maxTrainSteps: 6000, maxGradNorm: 1 }],
  ['5.1', 'controlnet', SDXL, { resolution: 1024, proportionEmptyPrompts: 0.5 }],
  ['6.1', 't2i-adapter', SDXL, { learningRate: 1e-5, maxTrainSteps: 15_000, gradientAccumulationSteps: 4 }],
  ['6.1', 't2i-adapter', SDXL, { trainBatchSize: 1, resolution: 1024, proportionEmptyPrompts: 0 }],
  ['3.1', 'fine-tune', SD, { learningRate: 5e-6, maxTrainSteps: 400, trainBatchSize: 1 }],
];

test.each(PUBLISHED)('defaults are those of training.md, section %s, for %s', (_, method, model, figures) => {
  expect(defaultSettings(method, model)).toMatchObject(figures);
});

test('textual inversion does not clip its gradients', () => {
  expect(defaultSettings('textual-inversion', SD)).not.toHaveProperty('maxGradNorm');
});

const WORDS: { readonly [M in TrainingMethod]: Omit<GivenSettings, 'method'> } = {
  dreambooth: { classNoun: 'dog' },
  'dreambooth-lora': { classNoun: 'dog' },
  'textual-inversion': { placeholderToken: '<my-dog>', initializerToken: 'dog' },
  controlnet: {},
  't2i-adapter': {},
  'fine-tune': {},
  'from-scratch': {},
};

test.each(TRAINING_METHODS)('%s needs no more than its words', (method) => {
  for (const model of [SD, SDXL]) {
    const settings = completeSettings({ method, ...WORDS[method] }, model);
    expect(settings).toMatchObject({ ...defaultSettings(method, model), ...WORDS[method] });
    for (const name of Object.keys(settings)) {
      expect(name === 'method' || hasSetting(method, name as SettingName)).toBe(true);
    }
  }
});

test('steps depend on prior preservation, and a number that was given stays', () => {
  const steps = (given: Omit<GivenSettings, 'method'>, method: TrainingMethod) =>
    completeSettings({ method, classNoun: 'dog', ...given }, SD).maxTrainSteps;
  expect(steps({}, 'dreambooth')).toBe(800);
  expect(steps({ withPriorPreservation: false }, 'dreambooth')).toBe(400);
  expect(steps({}, 'dreambooth-lora')).toBe(500);
  expect(steps({ withPriorPreservation: true }, 'dreambooth-lora')).toBe(1000);
  expect(steps({ withPriorPreservation: true, maxTrainSteps: 3 }, 'dreambooth-lora')).toBe(3);
});

test('differential output preservation takes the place of class pictures and of their steps', () => {
  const given = { classNoun: 'dog', diffOutputPreservation: true } as const;
  const kept = { withPriorPreservation: false, classPrompt: 'a photo of dog' };
  expect(completeSettings({ method: 'dreambooth', ...given }, SD)).toMatchObject({ ...kept, maxTrainSteps: 800 });
  expect(completeSettings({ method: 'dreambooth-lora', ...given }, SD)).toMatchObject({ ...kept, maxTrainSteps: 1000 });
});

test('alpha follows the rank unless it is given', () => {
  const method = 'dreambooth-lora';
  expect(completeSettings({ method, classNoun: 'dog', loraRank: 16 }, SD)).toMatchObject({ loraAlpha: 16 });
  expect(completeSettings({ method, classNoun: 'dog', loraRank: 16, loraAlpha: 1 }, SD)).toMatchObject({
    loraAlpha: 1,
  });
});

test('the class prompt follows the class noun unless it is given', () => {
  const method = 'dreambooth';
  expect(completeSettings({ method, classNoun: 'dog' }, SD)).toMatchObject({ classPrompt: 'a photo of dog' });
  expect(completeSettings({ method, classNoun: 'dog', classPrompt: 'dogs' }, SD)).toMatchObject({
    classPrompt: 'dogs',
  });
});

describe('settings are refused', () => {
  test.each<[GivenSettings, string]>([
    [{ method: 'dreambooth' }, 'there must be a class noun or an instance prompt, got neither'],
    [{ method: 'dreambooth', instancePrompt: 'a photo of sks dog' }, 'prior preservation must have a class noun'],
    [
      { method: 'dreambooth', classNoun: 'dog', withPriorPreservation: true, diffOutputPreservation: true },
      'the class must be kept by class pictures or by differential output preservation, got both',
    ],
    [
      { method: 'dreambooth-lora', instancePrompt: 'a nts dog', diffOutputPreservation: true },
      'prior preservation must',
    ],
    [{ method: 'textual-inversion', placeholderToken: 'x' }, 'initializerToken must be text, got nothing'],
    [{ method: 'controlnet', loraRank: 4 }, 'it must have settings of its own, got loraRank'],
    [{ method: 'fine-tune', learningRate: -1 }, 'learningRate must be a number above 0, got -1'],
  ])('when they are %o', (given, message) => {
    expect(() => completeSettings(given, SD)).toThrow(UserError);
    expect(() => completeSettings(given, SD)).toThrow(`Cannot train with ${given.method}: ${message}`);
  });

  test('no class noun is needed where both prompts are given', () => {
    const prompts = { instancePrompt: 'a photo of sks dog', classPrompt: 'a photo of dog' };
    expect(completeSettings({ method: 'dreambooth', ...prompts }, SD)).toMatchObject(prompts);
  });
});

test.each<[SettingName, readonly unknown[], readonly unknown[]]>([
  ['resolution', [8, 512, 1024], [0, -8, 513, 8.5, Number.NaN, Number.POSITIVE_INFINITY, '512']],
  ['maxTrainSteps', [1, 15_000], [0, -1, 1.5, Number.NaN]],
  ['lrWarmupSteps', [0, 500], [-1, 0.5]],
  ['learningRate', [1e-9, 1], [0, -1e-4, Number.NaN]],
  ['adamBeta2', [0, 0.999], [1, -0.1]],
  ['adamWeightDecay', [0, 1e-2], [-1e-2]],
  ['proportionEmptyPrompts', [0, 0.5, 1], [-0.1, 1.1]],
  ['seed', [0, 4294967295], [-1, 4294967296, 0.5]],
  ['lrScheduler', ['constant', 'constant_with_warmup', 'cosine'], ['linear', '']],
  ['mixedPrecision', ['no', 'fp16'], ['bf16']],
  ['learnableProperty', ['object', 'style'], ['subject']],
  ['withPriorPreservation', [true, false], ['true', 1]],
  ['classNoun', ['dog'], ['', '  ']],
])('%s takes only what its rule says', (name, good, bad) => {
  for (const value of good) expect(brokenRule(name, value)).toBeUndefined();
  for (const value of bad) expect(brokenRule(name, value)).toMatch(/^(a |one of |true or |text)/);
});

test('on the pocket model a LoRA changes convolutions too, at a rank and a rate of its own', async () => {
  const traits = traitsOf(await openModelFolder(join(POCKET_FOLDER, 'model')));
  expect(traits).toEqual({ family: 'pocket', side: 128 });
  const settings = completeSettings({ method: 'dreambooth-lora', classNoun: 'dog' }, traits);
  expect(settings).toMatchObject({ loraTargetModules: 'all', loraRank: 16, loraAlpha: 16, trainBatchSize: 4 });
  expect(settings).toMatchObject({ loraMultiplier: 0.8 });
  expect(settings.maxTrainSteps).toBe(defaultSettings('dreambooth-lora', traits).maxTrainSteps);
  const given = completeSettings({ method: 'dreambooth-lora', classNoun: 'dog', loraRank: 2 }, traits);
  expect(given).toMatchObject({ loraRank: 2, loraAlpha: 2 });
});

test('the defaults depend on what a model folder says', async () => {
  const folder = await temporaryFolder();
  await saveTinyPipeline(folder, { unet: 'unet-xl' });
  expect(traitsOf(await openModelFolder(folder))).toEqual({ family: 'sdxl', side: 128 });
});
