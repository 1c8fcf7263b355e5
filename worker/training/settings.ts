/** What a lesson is run with, for each method: names, rules, and defaults that say where they come from. */
import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import type { ModelFolder } from '../diffusion/model-folder.ts';
import { classPrompt } from './prompts.ts';

export const LR_SCHEDULERS = ['constant', 'constant_with_warmup', 'cosine'] as const;
export type LrScheduler = (typeof LR_SCHEDULERS)[number];

function number(rule: string, holds: (value: number) => boolean) {
  return z.number(rule).refine(holds, rule);
}
function oneOf<const T extends readonly string[]>(names: T, reason = '') {
  return z.enum(names, `one of ${names.join(', ')}${reason}`);
}

const isWhole = Number.isSafeInteger;
const count = number('a whole number above 0', (value) => isWhole(value) && value >= 1);
const positive = number('a number above 0', (value) => value > 0);
const notNegative = number('a number of 0 or more', (value) => value >= 0);
const share = number('a number from 0 to 1', (value) => value >= 0 && value <= 1);
const decayRate = number('a number of 0 or more and below 1', (value) => value >= 0 && value < 1);
const text = z.string('text').regex(/\S/, 'text that is not blank');
const isOn = z.boolean('true or false');

const common = {
  /** Side of the square pictures in pixels. */
  resolution: number('a multiple of 8 above 0', (value) => isWhole(value / 8) && value > 0),
  /** Whether pictures are cropped in the middle instead of at random. */
  centerCrop: isOn,
  /** Instance pictures per pass; as many class pictures come on top with prior preservation. */
  trainBatchSize: count,
  /** Batches whose gradients are averaged into one optimizer step. */
  gradientAccumulationSteps: count,
  /** Optimizer steps. */
  maxTrainSteps: count,
  learningRate: positive,
  lrScheduler: oneOf(LR_SCHEDULERS),
  /** Steps in which the rate rises from 0; `constant` has none. */
  lrWarmupSteps: number('a whole number of 0 or more', (value) => isWhole(value) && value >= 0),
  adamBeta1: decayRate,
  adamBeta2: decayRate,
  adamWeightDecay: notNegative,
  adamEpsilon: positive,
  /** Largest L2 norm of all gradients together; undefined leaves them as they are. */
  maxGradNorm: positive.optional(),
  /** γ of min-SNR weighting (arXiv 2303.09556), 5 there; undefined weighs all timesteps alike. */
  snrGamma: positive.optional(),
  /** Size of the noise that is the same over a whole channel, such as 0.1; undefined adds none. */
  offsetNoise: positive.optional(),
  /** uint32; undefined draws one. */
  seed: number(
    'a whole number from 0 to 4294967295',
    (value) => isWhole(value) && value >= 0 && value < 2 ** 32,
  ).optional(),
  /** `fp16` computes in half precision; trained weights are float32 in both. */
  mixedPrecision: oneOf(['no', 'fp16'], ' (ONNX Runtime has no convolution in bf16)'),
  /** Whether activations are computed again in the backward pass instead of kept: less memory, more time. */
  gradientCheckpointing: isOn,
  checkpointingSteps: count,
  /** Prompt of the pictures that show how the lesson goes; the instance prompt by default. */
  validationPrompt: text.optional(),
  /** Steps between sample pictures; 0 makes none and measures nothing. */
  validationSteps: number('a whole number of 0 or more', (value) => isWhole(value) && value >= 0),
  /** Sample pictures of a step. */
  numValidationImages: count,
};

const captioned = {
  /** Prompt of every instance picture. */
  instancePrompt: text.optional(),
};

const subject = {
  ...captioned,
  /** What kind of thing the subject is, such as "dog". */
  classNoun: text.optional(),
  /** Word that comes to mean the subject; undefined chooses one that is rare in the model's vocabulary. */
  identifier: text.optional(),
};

const prior = {
  withPriorPreservation: isOn,
  /** Whether the class is kept by what the frozen network predicts of the subject's own pictures, without class pictures. */
  diffOutputPreservation: isOn,
  /** λ of the DreamBooth paper. */
  priorLossWeight: notNegative,
  numClassImages: count,
  /** "a photo of" and the class noun by default. */
  classPrompt: text.optional(),
};

const textEncoder = {
  trainTextEncoder: isOn,
  textEncoderLr: positive,
};

const ema = {
  /** Whether the result is a moving average of the weights. */
  useEma: isOn,
};

const lora = {
  loraRank: count,
  /** The change is scaled by alpha / rank; the rank by default. */
  loraAlpha: positive,
  adamWeightDecayTextEncoder: notNegative,
  /** Whether a second file is written for tools that came from kohya's sd-scripts. */
  outputKohyaFormat: isOn,
};

const inversion = {
  /** The word that is learned. */
  placeholderToken: text,
  /** One token of the vocabulary, whose vector the learned ones start from. */
  initializerToken: text,
  numVectors: count,
  /** Chooses the prompts that the word is learned in. */
  learnableProperty: oneOf(['object', 'style']),
};

export const SCRATCH_COMPONENTS = ['vae', 'unet'] as const;

const scratch = {
  /** What is taught: the VAE, or the UNet together with the text encoder. */
  component: oneOf(SCRATCH_COMPONENTS),
};

const prompted = {
  /** Share of the pictures that are shown with an empty prompt. */
  proportionEmptyPrompts: share,
};

const schemas = {
  dreambooth: settings('dreambooth', { ...common, ...subject, ...prior, ...textEncoder, ...ema }),
  'dreambooth-lora': settings('dreambooth-lora', { ...common, ...subject, ...prior, ...textEncoder, ...lora }),
  'textual-inversion': settings('textual-inversion', { ...common, ...inversion }),
  controlnet: settings('controlnet', { ...common, ...captioned, ...prompted }),
  't2i-adapter': settings('t2i-adapter', { ...common, ...captioned, ...prompted }),
  'fine-tune': settings('fine-tune', { ...common, ...subject, ...textEncoder, ...ema }),
  'from-scratch': settings('from-scratch', { ...common, ...scratch, ...captioned, ...prompted, ...ema }),
};

function settings<M extends string, S extends z.ZodRawShape>(method: M, shape: S) {
  return z.strictObject({ method: z.literal(method), ...shape });
}

export type TrainingMethod = keyof typeof schemas;
export const TRAINING_METHODS = Object.keys(schemas) as readonly TrainingMethod[];

/** The settings of one method. */
export type SettingsOf<M extends TrainingMethod> = Readonly<z.infer<(typeof schemas)[M]>>;
export type TrainingSettings = { [M in TrainingMethod]: SettingsOf<M> }[TrainingMethod];

const every = {
  ...common,
  ...subject,
  ...prior,
  ...textEncoder,
  ...ema,
  ...lora,
  ...inversion,
  ...prompted,
  ...scratch,
};
/** Every setting that some method has. */
export type SettingValues = z.infer<z.ZodObject<typeof every>>;
export type SettingName = keyof SettingValues;

export function hasSetting(method: TrainingMethod, name: SettingName): boolean {
  return name in schemas[method].shape;
}

/** Returns the rule that a value breaks, such as "a number above 0"; undefined if it may be set. */
export function brokenRule(name: SettingName, value: unknown): string | undefined {
  return every[name].safeParse(value).error?.issues[0]?.message;
}

/** What the defaults depend on. */
export interface ModelTraits {
  readonly family: 'sd' | 'sdxl';
  /** Side in pixels of the pictures that the model was trained on. */
  readonly side: number;
}

export function traitsOf({ unet, vae }: Pick<ModelFolder, 'unet' | 'vae'>): ModelTraits {
  return {
    family: unet.config.addition ? 'sdxl' : 'sd',
    side: (unet.config.sampleSize ?? 64) * vae.config.vaeScaleFactor,
  };
}

/** diffusers' defaults that no method changes, but for its random crops: cached latents hold one crop. */
function commonDefaults({ side }: ModelTraits) {
  return {
    resolution: side,
    centerCrop: true,
    trainBatchSize: 1,
    gradientAccumulationSteps: 1,
    lrScheduler: 'constant',
    lrWarmupSteps: 500,
    adamBeta1: 0.9,
    adamBeta2: 0.999,
    adamWeightDecay: 1e-2,
    adamEpsilon: 1e-8,
    maxGradNorm: 1,
    mixedPrecision: 'no',
    gradientCheckpointing: false,
    checkpointingSteps: 500,
    validationSteps: 100,
    numValidationImages: 1,
  } as const;
}

/** Steps for 4 to 6 pictures. */
interface DreamboothSteps {
  readonly withPrior: number;
  readonly withoutPrior: number;
}
const FULL_STEPS: DreamboothSteps = { withPrior: 800, withoutPrior: 400 };
/** The rule of thumb for LoRA at 1e-4 is 500 to 1000. */
const LORA_STEPS: DreamboothSteps = { withPrior: 1000, withoutPrior: 500 };

/** A VAE learns faster than what must obey prompts, and has none. */
const SCRATCH_VAE = { learningRate: 2e-3, maxTrainSteps: 6000 } as const;

/** λ of the paper; diffusers' README advises 200 to 300 class pictures. */
const priorDefaults = { diffOutputPreservation: false, priorLossWeight: 1, numClassImages: 200 } as const;
const LORA_RANK = 4;

/** Settings without the words that only a person can choose. */
export type DefaultsOf<M extends TrainingMethod> = Omit<SettingsOf<M>, 'placeholderToken' | 'initializerToken'>;

/**
 * Where diffusers' README runs a method with other figures than its script's defaults, these are the README's: they
 * were chosen for a handful of pictures and batches that fit a small card. Sample pictures are made about six times a lesson,
 * since each takes as long as some twenty steps.
 */
const defaults: { readonly [M in TrainingMethod]: (model: ModelTraits) => DefaultsOf<M> } = {
  // README of train_dreambooth.py; a text encoder learns at the rate that it recommends for it.
  dreambooth: (model) => ({
    ...commonDefaults(model),
    ...priorDefaults,
    method: 'dreambooth',
    learningRate: 5e-6,
    maxTrainSteps: FULL_STEPS.withPrior,
    withPriorPreservation: true,
    trainTextEncoder: false,
    textEncoderLr: 2e-6,
    useEma: false,
  }),
  // README of train_dreambooth_lora.py; the text encoder's rate and SDXL's decay are train_dreambooth_lora_sdxl.py's.
  'dreambooth-lora': (model) => ({
    ...commonDefaults(model),
    ...priorDefaults,
    method: 'dreambooth-lora',
    learningRate: 1e-4,
    maxTrainSteps: LORA_STEPS.withoutPrior,
    withPriorPreservation: false,
    trainTextEncoder: false,
    textEncoderLr: 5e-6,
    loraRank: LORA_RANK,
    loraAlpha: LORA_RANK,
    ...(model.family === 'sdxl'
      ? { adamWeightDecay: 1e-4, adamWeightDecayTextEncoder: 1e-3 }
      : { adamWeightDecayTextEncoder: 1e-2 }),
    outputKohyaFormat: false,
  }),
  // README of textual_inversion.py: its 5e-4 is multiplied by batch and accumulation. The script does not clip.
  'textual-inversion': (model) => {
    const { maxGradNorm: _, ...unclipped } = commonDefaults(model);
    return {
      ...unclipped,
      method: 'textual-inversion',
      learningRate: 5e-4 * 4,
      gradientAccumulationSteps: 4,
      maxTrainSteps: 3000,
      validationSteps: 500,
      numVectors: 1,
      learnableProperty: 'object',
    };
  },
  // README of train_controlnet.py; the share of empty prompts is the paper's (arXiv 2302.05543), the script has 0.
  controlnet: (model) => ({
    ...commonDefaults(model),
    method: 'controlnet',
    learningRate: 1e-5,
    trainBatchSize: 4,
    maxTrainSteps: 6000,
    validationSteps: 1000,
    proportionEmptyPrompts: 0.5,
  }),
  // README of train_t2i_adapter_sdxl.py; the first authors train SD 1.x at the same rate.
  't2i-adapter': (model) => ({
    ...commonDefaults(model),
    method: 't2i-adapter',
    learningRate: 1e-5,
    gradientAccumulationSteps: 4,
    maxTrainSteps: 15_000,
    validationSteps: 2500,
    proportionEmptyPrompts: 0,
  }),
  // DreamBooth without its prior, so that the two can be compared.
  'fine-tune': (model) => ({
    ...commonDefaults(model),
    method: 'fine-tune',
    learningRate: 5e-6,
    maxTrainSteps: FULL_STEPS.withoutPrior,
    trainTextEncoder: false,
    textEncoderLr: 2e-6,
    useEma: false,
  }),
  // Those that the pocket family was made with: nobody publishes figures for networks that one machine can teach from nothing.
  'from-scratch': (model) => ({
    ...commonDefaults(model),
    method: 'from-scratch',
    component: 'unet',
    learningRate: 1e-3,
    lrScheduler: 'cosine',
    trainBatchSize: 16,
    maxTrainSteps: 10_000,
    validationSteps: 1000,
    proportionEmptyPrompts: 0.1,
    useEma: true,
  }),
};

export function defaultSettings<M extends TrainingMethod>(method: M, model: ModelTraits): DefaultsOf<M> {
  return defaults[method](model);
}

/** What a person sets of a lesson; the rest is left to the method and the model. */
export type GivenSettings = { readonly method: TrainingMethod } & Readonly<Partial<SettingValues>>;

const settingsSchema = z.discriminatedUnion('method', [
  schemas.dreambooth,
  schemas['dreambooth-lora'],
  schemas['textual-inversion'],
  schemas.controlnet,
  schemas['t2i-adapter'],
  schemas['fine-tune'],
  schemas['from-scratch'],
]);

/**
 * Fills in the defaults of the method and the model, and those that depend on other settings: the steps on prior
 * preservation, alpha on the rank, the class prompt on the class noun.
 * @throws UserError that names the setting, the rule and the value received
 */
export function completeSettings(given: GivenSettings, model: ModelTraits): TrainingSettings {
  const { method } = given;
  const merged = { ...defaultSettings(method, model), ...dependentDefaults(given), ...given };
  const parsed = settingsSchema.safeParse(merged);
  if (!parsed.success) throw new UserError(`Cannot train with ${method}: ${describeIssue(parsed.error, merged)}`);
  checkPrompts(parsed.data);
  return parsed.data;
}

function dependentDefaults(given: GivenSettings) {
  const { method, classNoun, loraRank } = given;
  if (method === 'dreambooth') return { ...priorFor(FULL_STEPS, given, true), ...promptFor(classNoun) };
  if (method === 'from-scratch') return given.component === 'vae' ? SCRATCH_VAE : {};
  if (method !== 'dreambooth-lora') return {};
  const alpha = loraRank === undefined ? {} : { loraAlpha: loraRank };
  return { ...priorFor(LORA_STEPS, given, false), ...promptFor(classNoun), ...alpha };
}

/** Differential output preservation takes the place of class pictures, for as many steps. */
function priorFor(steps: DreamboothSteps, given: GivenSettings, isUsual: boolean) {
  const { diffOutputPreservation = false } = given;
  const withPriorPreservation = given.withPriorPreservation ?? (isUsual && !diffOutputPreservation);
  const isKept = withPriorPreservation || diffOutputPreservation;
  return { withPriorPreservation, maxTrainSteps: isKept ? steps.withPrior : steps.withoutPrior };
}

function promptFor(classNoun: string | undefined): { classPrompt?: string } {
  return classNoun === undefined ? {} : { classPrompt: classPrompt(classNoun) };
}

function describeIssue({ issues }: z.ZodError, values: object): string {
  const issue = issues[0]!;
  if (issue.code === 'unrecognized_keys') return `it must have settings of its own, got ${issue.keys.join(', ')}`;
  const name = String(issue.path[0]);
  return `${name} must be ${issue.message}, got ${JSON.stringify(Reflect.get(values, name)) ?? 'nothing'}`;
}

function checkPrompts(chosen: TrainingSettings): void {
  if (chosen.method !== 'dreambooth' && chosen.method !== 'dreambooth-lora') return;
  const { classNoun, instancePrompt, withPriorPreservation, diffOutputPreservation, classPrompt: prompt } = chosen;
  const refuse = (rule: string, got = 'neither') => {
    return new UserError(`Cannot train with ${chosen.method}: ${rule}, got ${got}`);
  };
  if (instancePrompt === undefined && classNoun === undefined) {
    throw refuse('there must be a class noun or an instance prompt');
  }
  if ((withPriorPreservation || diffOutputPreservation) && prompt === undefined) {
    throw refuse('prior preservation must have a class noun or a class prompt');
  }
  if (withPriorPreservation && diffOutputPreservation) {
    throw refuse('the class must be kept by class pictures or by differential output preservation', 'both');
  }
}
