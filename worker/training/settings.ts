/** What a lesson is run with, for each method: names and rules. */
import { z } from 'zod';

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
  /** How much of the change that was learned is kept, in samples and in the result; 1 keeps all of it. */
  loraMultiplier: positive,
  /** Modules that learn, as PEFT names them: the ends of their paths, with commas between, or `all`. */
  loraTargetModules: text,
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

/** Every method's settings, told apart by `method`. */
export const settingsSchema = z.discriminatedUnion('method', [
  schemas.dreambooth,
  schemas['dreambooth-lora'],
  schemas['textual-inversion'],
  schemas.controlnet,
  schemas['t2i-adapter'],
  schemas['fine-tune'],
  schemas['from-scratch'],
]);

/** What a person sets of a lesson; the rest is left to the method and the model. */
export type GivenSettings = { readonly method: TrainingMethod } & Readonly<Partial<SettingValues>>;
