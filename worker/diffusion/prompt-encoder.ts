import { UserError } from '../../shared/errors.ts';
import type { Dtype } from '../graph/value.ts';
import type { ClipTextConfig } from '../networks/clip.ts';
import type { LoraSlot } from '../networks/lora-inputs.ts';
import { describeTextEncoder } from '../networks/text-encoder-graph.ts';
import { compile } from '../runtime/compile.ts';
import { float32Tensor, int64Tensor, type Session, type SessionOptions, type Tensor } from '../runtime/session.ts';
import { type AppliedLora, loraFeeds } from './lora-feeds.ts';
import type { ModelFolder, TextEncoderFolder } from './model-folder.ts';
import { expandPrompt, type TextualInversion, tokensOf } from './textual-inversion-file.ts';
import { loadTokenizer, type Tokenizer } from './tokenizer.ts';

export interface PromptRequest {
  readonly prompt: string;
  /** Undefined is no negative prompt: "" for SD 1.x and 2.x, zeros for SDXL. */
  readonly negativePrompt?: string | undefined;
  /** Layers to leave out at the end of the text encoder, 0 for none. */
  readonly clipSkip?: number | undefined;
  readonly embeddings?: readonly TextualInversion[] | undefined;
  readonly loras?: readonly AppliedLora[] | undefined;
}

/** A prompt as the UNet takes it. */
export interface PromptEmbeds {
  /** [1, 77, X]. */
  readonly promptEmbeds: Tensor;
  readonly negativePromptEmbeds: Tensor;
  /** [1, P]; SDXL only. */
  readonly textEmbeds: Tensor | undefined;
  readonly negativeTextEmbeds: Tensor | undefined;
  /** Parts of the prompts that did not fit into 77 tokens. */
  readonly truncated: readonly string[];
}

export interface PromptEncoderOptions extends SessionOptions {
  readonly dtype: Dtype;
}

/** The text encoders of a model, loaded; must be disposed of. */
export class PromptEncoder {
  readonly #model: ModelFolder;
  readonly #encoders: readonly LoadedEncoder[];

  private constructor(model: ModelFolder, encoders: readonly LoadedEncoder[]) {
    this.#model = model;
    this.#encoders = encoders;
  }

  static async load(model: ModelFolder, options: PromptEncoderOptions): Promise<PromptEncoder> {
    const encoders: LoadedEncoder[] = [];
    const promptEncoder = new PromptEncoder(model, encoders);
    try {
      for (const folder of model.textEncoders) encoders.push(await loadEncoder(folder, options));
    } catch (error) {
      await promptEncoder.dispose();
      throw error;
    }
    return promptEncoder;
  }

  get loraSlots(): readonly LoraSlot[] {
    return this.#encoders.flatMap(({ loraSlots }) => loraSlots);
  }

  /** @throws UserError if clipSkip is out of range or an embedding does not belong to this model */
  async encode(request: PromptRequest): Promise<PromptEmbeds> {
    const positive = await this.#encodeText(request.prompt, request);
    // Clip-skip is for the prompt alone: the negative prompt always sees the whole encoder.
    const negative = await this.#encodeText(request.negativePrompt ?? '', { ...request, clipSkip: 0 });
    const isZero = request.negativePrompt === undefined && this.#model.forceZerosForEmptyPrompt;
    return {
      promptEmbeds: positive.embeds,
      negativePromptEmbeds: isZero ? zerosLike(negative.embeds) : negative.embeds,
      textEmbeds: positive.textEmbeds,
      negativeTextEmbeds: isZero && negative.textEmbeds ? zerosLike(negative.textEmbeds) : negative.textEmbeds,
      truncated: [...new Set([...positive.truncated, ...negative.truncated])],
    };
  }

  async #encodeText(
    text: string,
    request: PromptRequest,
  ): Promise<{ embeds: Tensor; textEmbeds: Tensor | undefined; truncated: string[] }> {
    const isXl = this.#model.unet.config.addition !== undefined;
    const results = [];
    for (const encoder of this.#encoders) results.push(await encodeWith(encoder, text, { ...request, isXl }));
    return {
      embeds: concatFeatures(results.map(({ embeds }) => embeds)),
      textEmbeds: isXl ? results.at(-1)!.textEmbeds : undefined,
      truncated: results.map(({ truncated }) => truncated).filter((part) => part !== ''),
    };
  }

  async dispose(): Promise<void> {
    for (const { session } of this.#encoders) await session.dispose();
  }
}

interface LoadedEncoder {
  readonly folder: TextEncoderFolder;
  readonly session: Session;
  readonly loraSlots: readonly LoraSlot[];
  /** By the tokens added to it; a vocabulary of 49,408 words takes a tenth of a second to build. */
  readonly tokenizers: Map<string, Tokenizer>;
}

async function loadEncoder(folder: TextEncoderFolder, options: PromptEncoderOptions): Promise<LoadedEncoder> {
  const { dtype, ...sessionOptions } = options;
  const { component, config, checkpoint } = folder;
  const { outputs, loraSlots } = describeTextEncoder(config, { component, dtype, takesLora: true });
  const session = await compile(outputs, { ...sessionOptions, checkpoints: { [component]: checkpoint } });
  return { folder, session, loraSlots, tokenizers: new Map() };
}

async function encodeWith(
  { folder, session, loraSlots, tokenizers }: LoadedEncoder,
  text: string,
  { clipSkip = 0, embeddings = [], loras = [], isXl }: PromptRequest & { isXl: boolean },
): Promise<{ embeds: Tensor; textEmbeds: Tensor | undefined; truncated: string }> {
  const { config, component } = folder;
  const rows = embeddings.flatMap((embedding) => embeddingRows(embedding, folder));
  const addedTokens = rows.map(({ token }) => token);
  const tokenizer = await tokenizerWith(tokenizers, folder.tokenizerFolder, addedTokens);
  if (tokenizer.vocabularySize > config.vocabSize) {
    throw new UserError(
      `Cannot encode the prompt: the tokenizer of ${component} must have at most ${config.vocabSize} tokens, got ${tokenizer.vocabularySize}`,
    );
  }
  const { inputIds, eosPosition, truncated } = tokenizer.encode(expandPrompt(text, embeddings));
  if (inputIds.length !== config.maxPositionEmbeddings) {
    throw new UserError(
      `Cannot encode the prompt: the tokenizer of ${component} must give ${config.maxPositionEmbeddings} tokens, got ${inputIds.length}`,
    );
  }
  const results = await session.run({
    ...tokenFeeds(inputIds, {
      config,
      vectors: rows.map(({ vector }) => vector),
      vocabularySize: tokenizer.vocabularySize,
    }),
    hidden_state_index: int64Tensor([hiddenStateIndex(config, clipSkip, isXl)], [1]),
    ...(config.projectionDim !== undefined && { eos_positions: int64Tensor([eosPosition], [1]) }),
    ...loraFeeds(loraSlots, loras),
  });
  // SDXL takes the layer before the last as it is; SD 1.x and 2.x normalise whatever layer they take.
  const embeds = isXl ? results['hidden_state']! : results['hidden_state_normalized']!;
  return { embeds, textEmbeds: results['text_embeds'], truncated };
}

/** Position in the list of hidden states, whose first entry is the embeddings and whose last is the final layer's. */
function hiddenStateIndex({ numHiddenLayers }: ClipTextConfig, clipSkip: number, isXl: boolean): number {
  const index = numHiddenLayers - clipSkip - (isXl ? 1 : 0);
  if (Number.isInteger(clipSkip) && clipSkip >= 0 && index >= 1) return index;
  const most = numHiddenLayers - (isXl ? 2 : 1);
  throw new UserError(`Cannot encode the prompt: clip-skip must be a whole number from 0 to ${most}, got ${clipSkip}`);
}

function embeddingRows(
  embedding: TextualInversion,
  { component, config }: TextEncoderFolder,
): { token: string; vector: Float32Array }[] {
  const vectors = embedding.vectors[component];
  const size = vectors?.[0]?.length;
  if (!vectors || size !== config.hiddenSize) {
    throw new UserError(
      `Cannot use the embedding ${embedding.token}: ${component} of this model needs vectors of ${config.hiddenSize} numbers, got ${size ?? 'none'}`,
    );
  }
  return tokensOf(embedding).map((token, i) => ({ token, vector: vectors[i]! }));
}

async function tokenizerWith(known: Map<string, Tokenizer>, folder: string, addedTokens: string[]): Promise<Tokenizer> {
  const key = JSON.stringify(addedTokens);
  const tokenizer = known.get(key) ?? (await loadTokenizer(folder, { addedTokens }));
  known.set(key, tokenizer);
  return tokenizer;
}

function tokenFeeds(
  inputIds: readonly number[],
  {
    config,
    vectors,
    vocabularySize,
  }: { config: ClipTextConfig; vectors: readonly Float32Array[]; vocabularySize: number },
): Record<string, Tensor> {
  const length = inputIds.length;
  const table = new Float32Array(Math.max(1, vectors.length) * config.hiddenSize);
  vectors.forEach((vector, i) => {
    table.set(vector, i * config.hiddenSize);
  });
  const isLearned = inputIds.map((id) => id >= vocabularySize);
  return {
    input_ids: int64Tensor(
      inputIds.map((id, i) => (isLearned[i] ? 0 : id)),
      [1, length],
    ),
    inverted_table: float32Tensor(table, [table.length / config.hiddenSize, config.hiddenSize]),
    inverted_rows: int64Tensor(
      inputIds.map((id, i) => (isLearned[i] ? id - vocabularySize : 0)),
      [1, length],
    ),
    is_inverted: { dtype: 'bool', data: Uint8Array.from(isLearned, Number), dims: [1, length, 1] },
  };
}

/** Joins tensors [1, S, X] along the last axis. */
function concatFeatures(tensors: readonly Tensor[]): Tensor {
  const [first] = tensors as readonly [Tensor, ...Tensor[]];
  if (tensors.length === 1) return first;
  const length = first.dims[1]!;
  const total = tensors.reduce((sum, { dims }) => sum + dims[2]!, 0);
  const joined = new Float32Array(length * total);
  let column = 0;
  for (const { data, dims } of tensors) {
    const width = dims[2]!;
    for (let i = 0; i < length; i++)
      joined.set((data as Float32Array).subarray(i * width, (i + 1) * width), i * total + column);
    column += width;
  }
  return float32Tensor(joined, [1, length, total]);
}

function zerosLike({ data, dims }: Tensor): Tensor {
  return float32Tensor(new Float32Array(data.length), dims);
}
