import type { TextEncoderFolder } from '../../diffusion/model-folder.ts';
import type { Tokenizer } from '../../diffusion/tokenizer.ts';
import { symbol } from '../../graph/dim.ts';
import { input } from '../../graph/operators.ts';
import { Scope } from '../../graph/scope.ts';
import { clipTextEncoder } from '../../networks/clip.ts';
import { compile } from '../../runtime/compile.ts';
import type { Session, SessionOptions } from '../../runtime/session.ts';
import { rememberingTokenizer } from './prompts.ts';

/** A frozen text encoder that embeds many prompts at once; must be disposed of. */
export interface PromptEmbedder {
  /** @returns one [T, hiddenSize] per prompt */
  embed(prompts: readonly string[]): Promise<Float32Array[]>;
  dispose(): Promise<void>;
}

export async function openPromptEmbedder(
  { config, checkpoint, component }: TextEncoderFolder,
  tokenizer: Tokenizer,
  session: SessionOptions,
): Promise<PromptEmbedder> {
  const inputIds = input('input_ids', { shape: [symbol('batch'), config.maxPositionEmbeddings], dtype: 'int64' });
  const { lastHiddenState } = clipTextEncoder(new Scope({ name: component, dtype: 'float32' }), config, { inputIds });
  const encoder: Session = await compile({ lastHiddenState }, { ...session, checkpoints: { [component]: checkpoint } });
  const idsOf = rememberingTokenizer(tokenizer);
  const size = config.maxPositionEmbeddings * config.hiddenSize;
  return {
    embed: async (prompts) => {
      const ids = new BigInt64Array(prompts.length * config.maxPositionEmbeddings);
      prompts.forEach((prompt, i) => {
        ids.set(idsOf(prompt), i * config.maxPositionEmbeddings);
      });
      const dims = [prompts.length, config.maxPositionEmbeddings];
      const { lastHiddenState: embeds } = await encoder.run({ input_ids: { dtype: 'int64', dims, data: ids } });
      return prompts.map((_, i) => (embeds!.data as Float32Array).slice(i * size, (i + 1) * size));
    },
    dispose: () => encoder.dispose(),
  };
}
