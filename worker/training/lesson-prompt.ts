/** How a lesson comes by its prompt: fed as embeds, or encoded in its own graph because the text encoders learn. */
import { add, cast, concat, constant, input, slice } from '../graph/operators.ts';
import { type Component, Scope } from '../graph/scope.ts';
import type { Dtype, Value } from '../graph/value.ts';
import {
  type ClipTextConfig,
  clipTextEncoder,
  type InvertedEmbeddings,
  pooledText,
  projectText,
} from '../networks/clip.ts';
import type { UnetConfig } from '../networks/unet-config.ts';

export interface TextEncoderPart {
  readonly component: 'text_encoder' | 'text_encoder_2';
  readonly config: ClipTextConfig;
}

/** A prompt as the UNet takes it. */
export interface PromptValues {
  /** [N, S, X]. */
  readonly encoderHiddenStates: Value;
  /** [N, P]; SDXL only. */
  readonly textEmbeds: Value | undefined;
}

/** What an encoder learns, in place of its checkpoint or beside it. */
interface EncoderHook extends Pick<Component, 'substitute' | 'lora'> {
  readonly inverted?: InvertedEmbeddings | undefined;
}

/** What tells learning encoders from frozen ones; without hooks the checkpoint is read. */
export type EncoderHooks = (component: TextEncoderPart['component']) => EncoderHook;

export interface LessonPrompt {
  readonly perStep: readonly Value[];
  /** The prompts of the samples from `start` up to `end` of a batch. */
  readonly encode: (samples: readonly [start: number, end: number], hooks?: EncoderHooks) => PromptValues;
}

export interface PromptOptions {
  readonly unet: UnetConfig;
  /** What the networks compute in; float32 by default. */
  readonly dtype?: Dtype | undefined;
  /** Samples per step. */
  readonly batch: number;
  readonly tokens: number;
}

/** Names of the inputs of prompts that were encoded before the lesson. */
export const promptInputs = {
  encoderHiddenStates: 'encoder_hidden_states',
  textEmbeds: 'text_embeds',
} as const;

/**
 * Names of the inputs of prompts that the lesson encodes: int64 [N, S], int64 [N] for the vector at EOS, and for learned words
 * int64 rows of their table [N, S] and marks [N, S, 1], 1 where a word is one of them.
 */
export const promptTokenInputs = {
  inputIds: (component: string) => `${component}:input_ids`,
  eosPosition: (component: string) => `${component}:eos_position`,
  invertedRows: (component: string) => `${component}:inverted_rows`,
  isInverted: (component: string) => `${component}:is_inverted`,
} as const;

/** Prompts that were encoded once. */
export function fedPrompt({ unet, batch, tokens, dtype = 'float32' }: PromptOptions): LessonPrompt {
  const float = (name: string, ...shape: number[]) => input(name, { shape: [batch, ...shape], dtype: 'float32' });
  const states = float(promptInputs.encoderHiddenStates, tokens, unet.crossAttentionDim[0]!);
  const pooled = unet.addition && float(promptInputs.textEmbeds, unet.addition.textEmbedDim);
  return {
    perStep: [states, ...(pooled ? [pooled] : [])],
    encode: (samples) => ({
      encoderHiddenStates: cast(samplesOf(states, samples), dtype),
      textEmbeds: pooled && cast(samplesOf(pooled, samples), dtype),
    }),
  };
}

/** Prompts that the text encoders of the lesson make from tokens. */
export function encodedPrompt(options: PromptOptions, encoders: readonly TextEncoderPart[]): LessonPrompt {
  const { unet, batch, tokens, dtype = 'float32' } = options;
  const ids = (name: string, ...shape: number[]) => input(name, { shape: [batch, ...shape], dtype: 'int64' });
  const isXl = unet.addition !== undefined;
  const parts = encoders.map((encoder, i) => ({
    ...encoder,
    inputIds: ids(promptTokenInputs.inputIds(encoder.component), tokens),
    eosPosition: isXl && i === encoders.length - 1 ? ids(promptTokenInputs.eosPosition(encoder.component)) : undefined,
  }));
  return {
    perStep: parts.flatMap(({ inputIds, eosPosition }) => (eosPosition ? [inputIds, eosPosition] : [inputIds])),
    encode: (samples, hooks) => {
      const encoded = parts.map((part) => encodeWith(part, { samples, hooks, isXl, dtype }));
      const states = encoded.map((part) => part.states);
      return {
        encoderHiddenStates: states.length === 1 ? states[0]! : concat(states, 2),
        textEmbeds: encoded.at(-1)?.textEmbeds,
      };
    },
  };
}

interface PromptPart extends TextEncoderPart {
  readonly inputIds: Value;
  /** Given for the encoder whose vector at EOS the UNet reads. */
  readonly eosPosition: Value | undefined;
}

interface EncodeOptions {
  readonly samples: readonly [start: number, end: number];
  readonly hooks: EncoderHooks | undefined;
  readonly isXl: boolean;
  readonly dtype: Dtype;
}

function encodeWith(
  { component, config, inputIds, eosPosition }: PromptPart,
  { samples, hooks, isXl, dtype }: EncodeOptions,
): { states: Value; textEmbeds: Value | undefined } {
  const { inverted, ...own } = hooks?.(component) ?? {};
  const scope = new Scope({ name: component, dtype, ...own });
  const { hiddenStates, lastHiddenState } = clipTextEncoder(scope, config, {
    inputIds: samplesOf(inputIds, samples),
    inverted,
  });
  // SDXL takes the layer before the last as it is.
  const states = isXl ? hiddenStates.at(-2)! : lastHiddenState;
  if (!eosPosition || config.projectionDim === undefined) return { states, textEmbeds: undefined };
  const count = samples[1] - samples[0];
  const firsts = constant(
    Array.from({ length: count }, (_, i) => i * config.maxPositionEmbeddings),
    [count],
    'int64',
  );
  const pooled = pooledText(lastHiddenState, add(samplesOf(eosPosition, samples), firsts));
  return { states, textEmbeds: projectText(scope, config.projectionDim, pooled) };
}

/** The samples from `start` up to `end` of a batch; the value itself where they are all of it. */
export function samplesOf(value: Value, [start, end]: readonly [number, number]): Value {
  return start === 0 && value.shape[0] === end ? value : slice(value, 0, [start, end]);
}
