/** The defaults of each method and model, with where they come from. */
import type { ModelFolder } from '../diffusion/model-folder.ts';
import { ALL_MODULES, ATTENTION_MODULES } from './lora-targets.ts';
import { classPrompt } from './prompts.ts';
import type { GivenSettings, SettingsOf, TrainingMethod } from './settings.ts';

/** What the defaults depend on. */
export interface ModelTraits {
  /** `pocket` for UNets with a hundredth of the published ones' parameters or less, such as the one that ships. */
  readonly family: 'sd' | 'sdxl' | 'pocket';
  /** Side in pixels of the pictures that the model was trained on. */
  readonly side: number;
}

/** The published UNets begin with 320 channels. */
const POCKET_CHANNELS = 64;

export function traitsOf({ unet, vae }: Pick<ModelFolder, 'unet' | 'vae'>): ModelTraits {
  const { addition, blockOutChannels } = unet.config;
  const isPocket = (blockOutChannels[0] ?? Number.POSITIVE_INFINITY) <= POCKET_CHANNELS;
  return {
    family: addition ? 'sdxl' : isPocket ? 'pocket' : 'sd',
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
const POCKET_STEPS: DreamboothSteps = { withPrior: 300, withoutPrior: 300 };

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
    loraMultiplier: 1,
    loraTargetModules: ATTENTION_MODULES,
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

const pocketSteps = {
  lrScheduler: 'cosine',
  lrWarmupSteps: 20,
  trainBatchSize: 4,
  maxTrainSteps: POCKET_STEPS.withoutPrior,
  validationSteps: 100,
} as const;

/**
 * Where a small UNet needs other figures: its weights are larger and its steps are cheap, and what a thing looks like is
 * not in attention, which it has at its coarsest levels only. Found by trials on the pocket family: 200 steps on attention
 * alone change next to nothing there.
 */
const pocketDefaults: { readonly [M in TrainingMethod]?: Partial<DefaultsOf<M>> } = {
  // With 48 class pictures 94.0 % of 200 others are still not the subject after a lesson, with 96 95.5 %.
  dreambooth: { ...pocketSteps, learningRate: 3e-4, numClassImages: 96 },
  'dreambooth-lora': {
    ...pocketSteps,
    learningRate: 2e-3,
    loraRank: 16,
    loraAlpha: 16,
    // A whole change outweighs a colour that the prompt names. Of 10 pictures each, dog, backpack and teapot are judged the
    // subject in 8, 10 and 9 with all of it and in 8, 9 and 10 with 0.8 of it; a colour is seen in 5, 9 and 6 against 8, 9 and 8.
    // 0.65 costs likeness (5 of 10 for the dog). Fewer steps or a lower rate give no colours back (3 and 4 of 10).
    loraMultiplier: 0.8,
    loraTargetModules: ALL_MODULES,
    numClassImages: 48,
  },
  'textual-inversion': { ...pocketSteps, learningRate: 2e-2, gradientAccumulationSteps: 1 },
  'fine-tune': { ...pocketSteps, learningRate: 3e-4 },
};

export function defaultSettings<M extends TrainingMethod>(method: M, model: ModelTraits): DefaultsOf<M> {
  return { ...defaults[method](model), ...(model.family === 'pocket' && pocketDefaults[method]) };
}

/** Defaults that depend on other settings: the steps on prior preservation, alpha on the rank, the class prompt on the class noun. */
export function dependentDefaults(given: GivenSettings, { family }: ModelTraits) {
  const { method, classNoun, loraRank } = given;
  const stepsOf = (usual: DreamboothSteps) => (family === 'pocket' ? POCKET_STEPS : usual);
  if (method === 'dreambooth') return { ...priorFor(stepsOf(FULL_STEPS), given, true), ...promptFor(classNoun) };
  if (method === 'from-scratch') return given.component === 'vae' ? SCRATCH_VAE : {};
  if (method !== 'dreambooth-lora') return {};
  const alpha = loraRank === undefined ? {} : { loraAlpha: loraRank };
  return { ...priorFor(stepsOf(LORA_STEPS), given, false), ...promptFor(classNoun), ...alpha };
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
