/** The lessons of each method, described: which tensors learn, from which inputs, towards which loss. */
import { cast, constant, greater, input, mul } from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import type { Value } from '../graph/value.ts';
import { type ClipTextConfig, clipTextEncoder } from '../networks/clip.ts';
import { type ControlnetConfig, controlnet } from '../networks/controlnet.ts';
import { denoiserComponents } from '../networks/denoiser.ts';
import type { TimeConditions } from '../networks/embeddings.ts';
import { type T2iAdapterConfig, t2iAdapter } from '../networks/t2i-adapter.ts';
import { type UnetControls, unet } from '../networks/unet.ts';
import { SIZE_IDS, type UnetConfig } from '../networks/unet-config.ts';
import type { Trainable } from './adamw.ts';
import { diffusionLoss, type LossTarget } from './diffusion-loss.ts';
import { learnEverything, learnNamed } from './learning.ts';
import type { Lesson } from './trainer.ts';

export interface LessonOptions {
  readonly unet: UnetConfig;
  readonly target: LossTarget;
  /** Samples per step, class pictures included. */
  readonly batch: number;
  /** Side of the square latents. */
  readonly latentSide: number;
  readonly tokens: number;
  /** Pixels per latent. */
  readonly vaeScaleFactor: number;
  /** Whether the error counts only where the photos' masks show the subject. */
  readonly hasMask: boolean;
}

/** Names of the inputs that a lesson reads beside those of the loss. */
export const lessonInputs = {
  encoderHiddenStates: 'encoder_hidden_states',
  textEmbeds: 'text_embeds',
  timeIds: 'time_ids',
  conditioningImage: 'conditioning_image',
} as const;

/** Names of the tensors of a LoRA that learns. */
export const loraTensorNames = {
  down: (path: string) => `${path}:down`,
  up: (path: string) => `${path}:up`,
} as const;

/** The attention projections that the published scripts train. */
export const LORA_TARGETS = /\.attn\d\.to_(q|k|v|out\.0)$/;

/** Full fine-tuning: every tensor of the UNet learns, under its checkpoint name. */
export function fineTuneLesson(options: LessonOptions): Lesson {
  const learning = learnEverything();
  return unetLesson(options, { unetScope: unetScope({ substitute: learning.substitute }), learning });
}

/** LoRA: low-rank changes of the attention projections learn, scaled by alpha / rank. */
export function loraLesson(
  options: LessonOptions,
  { loraRank, loraAlpha }: { loraRank: number; loraAlpha: number },
): Lesson {
  const learning = learnNamed();
  const lora = (path: string, [out, features]: readonly number[]) =>
    LORA_TARGETS.test(path)
      ? {
          down: learning.learn(loraTensorNames.down(path), [loraRank, features!]),
          up: scaled(learning.learn(loraTensorNames.up(path), [out!, loraRank]), loraAlpha / loraRank),
        }
      : undefined;
  return unetLesson(options, { unetScope: unetScope({ lora }), learning });
}

/** ControlNet: a copy of the UNet's encoder learns to follow the conditioning image, the UNet is frozen. */
export function controlnetLesson(options: LessonOptions, config: ControlnetConfig): Lesson {
  const learning = learnEverything();
  const image = conditioningImage(options, config.conditioningChannels);
  const component = denoiserComponents.controlnet(0);
  const scope = new Scope({ name: component, dtype: 'float32', substitute: learning.substitute });
  const controls: Controls = (inputs) => ({
    controlnet: controlnet(scope, config, {
      ...inputs,
      controlImage: image,
      conditioningScale: one(),
      isGuessMode: false,
    }),
  });
  return unetLesson(options, { unetScope: unetScope({}), learning, controls, further: [image] });
}

/** T2I-Adapter: the adapter learns, the UNet is frozen. */
export function t2iAdapterLesson(options: LessonOptions, config: T2iAdapterConfig): Lesson {
  const learning = learnEverything();
  const image = conditioningImage(options, config.inChannels);
  const scope = new Scope({ name: denoiserComponents.adapter(0), dtype: 'float32', substitute: learning.substitute });
  const controls: Controls = () => ({
    adapterFeatures: t2iAdapter(scope, config, { image, conditioningScale: one() }),
  });
  return unetLesson(options, { unetScope: unetScope({}), learning, controls, further: [image] });
}

/** Names of the inputs that a prompt with learned words is fed by: see tokenInputs. */
export const tokenInputNames = {
  inputIds: 'input_ids',
  invertedRows: 'inverted_rows',
  isInverted: 'is_inverted',
} as const;

/** Name of the tensor that textual inversion learns, [numVectors, hiddenSize]. */
export const INVERSION_NAME = 'inverted_embeddings';

/**
 * Textual inversion: only the vectors of the new words learn; text encoder and UNet are frozen.
 * @see Gal et al. 2022 (arXiv 2208.01618), section 3
 */
export function textualInversionLesson(options: LessonOptions, config: ClipTextConfig, numVectors: number): Lesson {
  const learning = learnNamed();
  const table = learning.learn(INVERSION_NAME, [numVectors, config.hiddenSize]);
  const ids = (name: string, ...shape: number[]) => input(name, { shape: [options.batch, ...shape], dtype: 'int64' });
  const inputIds = ids(tokenInputNames.inputIds, options.tokens);
  const rows = ids(tokenInputNames.invertedRows, options.tokens);
  const marks = ids(tokenInputNames.isInverted, options.tokens, 1);
  const isInverted = greater(cast(marks, 'float32'), constant([0], [], 'float32'));
  const scope = new Scope({ name: 'text_encoder', dtype: 'float32' });
  const { lastHiddenState } = clipTextEncoder(scope, config, { inputIds, inverted: { table, rows, isInverted } });
  return unetLesson(options, {
    unetScope: unetScope({}),
    learning,
    encoderHiddenStates: lastHiddenState,
    further: [inputIds, rows, marks],
  });
}

type Controls = (inputs: TimeConditions & { sample: Value; encoderHiddenStates: Value }) => UnetControls;

interface LessonParts {
  readonly unetScope: Scope;
  readonly learning: { readonly trainables: readonly Trainable[] };
  readonly controls?: Controls;
  /** The prompt as a value of the graph; fed as it is by default. */
  readonly encoderHiddenStates?: Value;
  /** Inputs that the controls or the prompt read. */
  readonly further?: readonly Value[];
}

function unetLesson(
  options: LessonOptions,
  { unetScope: scope, learning, controls, further = [], encoderHiddenStates: ownPrompt }: LessonParts,
): Lesson {
  const { unet: config, batch, latentSide, target, tokens } = options;
  const float = (name: string, ...shape: number[]) => input(name, { shape: [batch, ...shape], dtype: 'float32' });
  const encoderHiddenStates =
    ownPrompt ?? float(lessonInputs.encoderHiddenStates, tokens, config.crossAttentionDim[0]!);
  const textEmbeds = config.addition && float(lessonInputs.textEmbeds, config.addition.textEmbedDim);
  const timeIds = config.addition && float(lessonInputs.timeIds, SIZE_IDS);
  const { loss, sampleLosses, perStep } = diffusionLoss({
    batch,
    latentShape: [config.outChannels, latentSide, latentSide],
    target,
    hasMask: options.hasMask,
    predict: (sample, timestep) => {
      const inputs = { sample, timestep, encoderHiddenStates, textEmbeds, timeIds };
      return unet(scope, config, inputs, controls?.(inputs));
    },
  });
  const conditions = [ownPrompt ? undefined : encoderHiddenStates, textEmbeds, timeIds].filter(
    (value) => value !== undefined,
  );
  return {
    trainables: learning.trainables,
    loss,
    perStep: [...perStep, ...conditions, ...further],
    reported: { sampleLosses },
  };
}

function unetScope(hooks: Partial<Pick<Scope['component'], 'substitute' | 'lora'>>): Scope {
  return new Scope({ name: denoiserComponents.unet, dtype: 'float32', ...hooks });
}

function conditioningImage({ batch, latentSide, vaeScaleFactor }: LessonOptions, channels: number): Value {
  const side = latentSide * vaeScaleFactor;
  return input(lessonInputs.conditioningImage, { shape: [batch, channels, side, side], dtype: 'float32' });
}

function scaled(value: Value, factor: number): Value {
  return factor === 1 ? value : mul(value, constant([factor], [], 'float32'));
}

function one(): Value {
  return constant([1], [], 'float32');
}
