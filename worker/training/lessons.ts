/** The lessons of each method, described: which tensors learn, from which inputs, towards which loss. */
import { cast, constant, greater, input, mul, scalar } from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import { type Dtype, topologicalOrder, type Value } from '../graph/value.ts';
import type { InvertedEmbeddings } from '../networks/clip.ts';
import { type ControlnetConfig, controlnet } from '../networks/controlnet.ts';
import { denoiserComponents } from '../networks/denoiser.ts';
import type { TimeConditions } from '../networks/embeddings.ts';
import { type T2iAdapterConfig, t2iAdapter } from '../networks/t2i-adapter.ts';
import { type UnetControls, unet } from '../networks/unet.ts';
import { SIZE_IDS, type UnetConfig } from '../networks/unet-config.ts';
import type { ParameterGroup, Trainable } from './adamw.ts';
import { diffusionLoss, type LossTarget } from './diffusion-loss.ts';
import { learnNamed } from './learning.ts';
import {
  type EncoderHooks,
  encodedPrompt,
  fedPrompt,
  type LessonPrompt,
  promptInputs,
  promptTokenInputs,
  samplesOf,
  type TextEncoderPart,
} from './lesson-prompt.ts';
import { isLoraTarget } from './lora-targets.ts';
import type { SettingsOf } from './settings.ts';
import type { Lesson } from './trainer.ts';

export interface LessonOptions {
  readonly unet: UnetConfig;
  readonly target: LossTarget;
  /**
   * What the networks compute in, float32 by default. What learns, the loss and the optimizer are float32 in any case; in
   * float16 the gradients need loss scaling.
   * @see Micikevicius et al. 2018 (arXiv 1710.03740), section 3
   */
  readonly dtype?: Dtype | undefined;
  /** Samples per step, class pictures included. */
  readonly batch: number;
  /** Side of the square latents. */
  readonly latentSide: number;
  readonly tokens: number;
  /** Pixels per latent. */
  readonly vaeScaleFactor: number;
  /** Whether the error counts only where the photos' masks show the subject. */
  readonly hasMask: boolean;
  /**
   * Differential output preservation: the second half of the batch shows the first half's pictures with the class prompt,
   * to be predicted as the network without what it learned predicts them. That half takes one forward pass more: by its
   * products, a LoRA step is a quarter and a step of all weights a sixth longer than with class pictures.
   * @see kohya sd-scripts, train_network.py, diff_output_preservation
   */
  readonly isOutputPreserved?: boolean | undefined;
  /** Text encoders that learn beside the UNet, and by what; undefined where prompts are fed as embeds. */
  readonly textEncoders?: { readonly encoders: readonly TextEncoderPart[]; readonly group: ParameterGroup } | undefined;
}

/** Names of the inputs that a lesson reads beside those of the loss. */
export const lessonInputs = {
  ...promptInputs,
  timeIds: 'time_ids',
  conditioningImage: 'conditioning_image',
} as const;

/** Name of the input of a prompt's token ids, int64 [N, T], where there is one text encoder that learns from nothing. */
export const tokenInputNames = { inputIds: promptTokenInputs.inputIds('text_encoder') } as const;

/** Names of the tensors of a LoRA that learns. */
export const loraTensorNames = {
  down: (path: string) => `${path}:down`,
  up: (path: string) => `${path}:up`,
} as const;

/** Name under which a tensor or module of a component learns: the UNet's by its name in the checkpoint. */
export function learnedName(component: string, name: string): string {
  return component === denoiserComponents.unet ? name : `${component}:${name}`;
}

/** Full fine-tuning: every tensor of the UNet learns, and of the text encoders where they are part of the lesson. */
export function fineTuneLesson(options: LessonOptions): Lesson {
  const learning = learnNamed(options.dtype);
  const group = options.textEncoders?.group;
  const encoderHooks: EncoderHooks = (component) => ({
    substitute: (name, shape) => learning.learn(learnedName(component, name), shape, group),
  });
  return unetLesson(options, { unetScope: unetScope(options, { substitute: learning.learn }), learning, encoderHooks });
}

type LoraSettings = Pick<SettingsOf<'dreambooth-lora'>, 'loraRank' | 'loraAlpha' | 'loraTargetModules'>;

/** LoRA: low-rank changes of the target modules learn, scaled by alpha / rank; a convolution's are down k x k, up 1 x 1. */
export function loraLesson(options: LessonOptions, { loraRank, loraAlpha, loraTargetModules }: LoraSettings): Lesson {
  const learning = learnNamed(options.dtype);
  const loraOf = (component: string, group?: ParameterGroup) => {
    return (path: string, [out, ...kernel]: readonly number[]) => {
      if (!isLoraTarget(path, loraTargetModules)) return undefined;
      const name = learnedName(component, path);
      const pointwise = kernel.slice(1).map(() => 1);
      const down = learning.learn(loraTensorNames.down(name), [loraRank, ...kernel], group);
      const up = learning.learn(loraTensorNames.up(name), [out!, loraRank, ...pointwise], group);
      return { down, up: scaled(up, loraAlpha / loraRank) };
    };
  };
  const encoderHooks: EncoderHooks = (component) => ({ lora: loraOf(component, options.textEncoders?.group) });
  return unetLesson(options, {
    unetScope: unetScope(options, { lora: loraOf(denoiserComponents.unet) }),
    learning,
    encoderHooks,
  });
}

/** ControlNet: a copy of the UNet's encoder learns to follow the conditioning image, the UNet is frozen. */
export function controlnetLesson(options: LessonOptions, config: ControlnetConfig): Lesson {
  const learning = learnNamed(options.dtype);
  const fed = conditioningImage(options, config.conditioningChannels);
  const image = cast(fed, options.dtype ?? 'float32');
  const component = denoiserComponents.controlnet(0);
  const scope = new Scope({ name: component, dtype: image.dtype, substitute: learning.learn });
  const controls: Controls = (inputs) => ({
    controlnet: controlnet(scope, config, {
      ...inputs,
      controlImage: image,
      conditioningScale: scalar(1, image),
      isGuessMode: false,
    }),
  });
  return unetLesson(options, { unetScope: unetScope(options), learning, controls, further: [fed] });
}

/** T2I-Adapter: the adapter learns, the UNet is frozen. */
export function t2iAdapterLesson(options: LessonOptions, config: T2iAdapterConfig): Lesson {
  const learning = learnNamed(options.dtype);
  const fed = conditioningImage(options, config.inChannels);
  const image = cast(fed, options.dtype ?? 'float32');
  const scope = new Scope({ name: denoiserComponents.adapter(0), dtype: image.dtype, substitute: learning.learn });
  const controls: Controls = () => ({
    adapterFeatures: t2iAdapter(scope, config, { image, conditioningScale: scalar(1, image) }),
  });
  return unetLesson(options, { unetScope: unetScope(options), learning, controls, further: [fed] });
}

/** Name of the tensor that textual inversion learns of an encoder, [numVectors, hiddenSize]. */
export function inversionName(component: string): string {
  return `${component}:inverted_embeddings`;
}

/**
 * Textual inversion: only the vectors of the new words learn, of every text encoder; the encoders and the UNet are frozen.
 * @see Gal et al. 2022 (arXiv 2208.01618), section 3
 */
export function textualInversionLesson(
  options: LessonOptions,
  encoders: readonly TextEncoderPart[],
  numVectors: number,
): Lesson {
  const learning = learnNamed(options.dtype);
  const words = encoders.map(({ component, config }) => {
    const ids = (name: string, ...ones: number[]) =>
      input(name, { shape: [options.batch, options.tokens, ...ones], dtype: 'int64' });
    const marks = ids(promptTokenInputs.isInverted(component), 1);
    const inverted: InvertedEmbeddings = {
      table: learning.learn(inversionName(component), [numVectors, config.hiddenSize]),
      rows: ids(promptTokenInputs.invertedRows(component)),
      isInverted: greater(cast(marks, 'float32'), constant([0], [], 'float32')),
    };
    return { component, inverted, perStep: [inverted.rows, marks] };
  });
  const encoded = encodedPrompt(options, encoders);
  const prompt = { ...encoded, perStep: [...encoded.perStep, ...words.flatMap(({ perStep }) => perStep)] };
  const encoderHooks: EncoderHooks = (component) => ({
    inverted: words.find((word) => word.component === component)?.inverted,
  });
  return unetLesson(options, { unetScope: unetScope(options), learning, prompt, encoderHooks });
}

type Controls = (inputs: TimeConditions & { sample: Value; encoderHiddenStates: Value }) => UnetControls;

export interface LessonParts {
  readonly unetScope: Scope;
  readonly learning: { readonly trainables: readonly Trainable[] };
  readonly controls?: Controls;
  /** By default the prompt is fed as embeds, or encoded by the text encoders that learn. */
  readonly prompt?: LessonPrompt;
  readonly encoderHooks?: EncoderHooks;
  /** Inputs that the controls read. */
  readonly further?: readonly Value[];
}

/** The UNet's loss with whatever learns. */
export function unetLesson(options: LessonOptions, parts: LessonParts): Lesson {
  const { unet: config, batch, latentSide, target, dtype = 'float32' } = options;
  const { unetScope: scope, learning, controls, prompt = promptOf(options), encoderHooks, further = [] } = parts;
  const timeIds = config.addition && input(lessonInputs.timeIds, { shape: [batch, SIZE_IDS], dtype: 'float32' });
  const secondHalf = [batch / 2, batch] as const;
  const predictFrozen = (sample: Value, timestep: Value) => {
    const conditions = { ...prompt.encode(secondHalf), timeIds: timeIds && samplesOf(timeIds, secondHalf) };
    return unet(unetScope(options), config, { sample: cast(sample, dtype), timestep, ...conditions });
  };
  const { loss, sampleLosses, perStep } = diffusionLoss({
    batch,
    latentShape: [config.outChannels, latentSide, latentSide],
    target,
    hasMask: options.hasMask,
    preserved: options.isOutputPreserved ? predictFrozen : undefined,
    predict: (sample, timestep) => {
      const prompts = prompt.encode([0, batch], encoderHooks);
      const inputs = { sample: cast(sample, dtype), timestep, timeIds, ...prompts };
      return unet(scope, config, inputs, controls?.(inputs));
    },
  });
  // SDXL reads no more than the layer before the last of its first text encoder: the rest of it has nothing to learn.
  const read = new Set(topologicalOrder([loss]));
  return {
    trainables: learning.trainables.filter(({ value }) => read.has(value)),
    loss,
    perStep: [...perStep, ...prompt.perStep, ...(timeIds ? [timeIds] : []), ...further],
    reported: { sampleLosses },
    isLossScaled: dtype === 'float16',
  };
}

function promptOf(options: LessonOptions): LessonPrompt {
  const { textEncoders } = options;
  return textEncoders ? encodedPrompt(options, textEncoders.encoders) : fedPrompt(options);
}

type ScopeHooks = Partial<Pick<Scope['component'], 'substitute' | 'lora'>>;

export function unetScope({ dtype = 'float32' }: LessonOptions, hooks: ScopeHooks = {}): Scope {
  return new Scope({ name: denoiserComponents.unet, dtype, ...hooks });
}

function conditioningImage({ batch, latentSide, vaeScaleFactor }: LessonOptions, channels: number): Value {
  const side = latentSide * vaeScaleFactor;
  return input(lessonInputs.conditioningImage, { shape: [batch, channels, side, side], dtype: 'float32' });
}

function scaled(value: Value, factor: number): Value {
  return factor === 1 ? value : mul(value, scalar(factor, value));
}
