import type { ModelFolder } from '../diffusion/model-folder.ts';
import { loadTokenizer } from '../diffusion/tokenizer.ts';
import { promptTokenInputs } from './lesson-prompt.ts';
import type { Condition, Conditions } from './samples.ts';

/** The tokens of a prompt for every text encoder of a model, as a lesson that encodes its prompts is fed. */
export async function promptTokens(
  prompt: string,
  { unet, textEncoders }: Pick<ModelFolder, 'unet' | 'textEncoders'>,
): Promise<Conditions> {
  const conditions: Record<string, Condition> = {};
  for (const { component, tokenizerFolder } of textEncoders) {
    const { inputIds, eosPosition } = (await loadTokenizer(tokenizerFolder)).encode(prompt);
    conditions[promptTokenInputs.inputIds(component)] = int64s(inputIds, [inputIds.length]);
    // SDXL reads the last encoder's vector at EOS beside the hidden states.
    const isPooled = unet.config.addition !== undefined && component === textEncoders.at(-1)?.component;
    if (isPooled) conditions[promptTokenInputs.eosPosition(component)] = int64s([eosPosition], []);
  }
  return conditions;
}

function int64s(values: readonly number[], dims: readonly number[]): Condition {
  return { dims, data: BigInt64Array.from(values, BigInt) };
}
