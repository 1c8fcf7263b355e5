import type { ModelFolder } from '../diffusion/model-folder.ts';
import { loadTokenizer } from '../diffusion/tokenizer.ts';
import { promptTokenInputs } from './lesson-prompt.ts';
import type { Condition, Conditions } from './samples.ts';

type TextModel = Pick<ModelFolder, 'unet' | 'textEncoders'>;

/** The tokens of a prompt for every text encoder of a model, as a lesson that encodes its prompts is fed. */
export async function promptTokens(prompt: string, model: TextModel): Promise<Conditions> {
  return (await loadPromptTokenizer(model))(prompt);
}

/**
 * Loads what makes prompts into the tokens for every text encoder of a model.
 * @param learnedWords  tokens that follow the vocabulary, in the order of their vectors; none where no words are learned
 */
export async function loadPromptTokenizer(
  { unet, textEncoders }: TextModel,
  learnedWords: readonly string[] = [],
): Promise<(prompt: string) => Conditions> {
  const loaded = await Promise.all(
    textEncoders.map(async ({ component, tokenizerFolder }) => {
      return { component, tokenizer: await loadTokenizer(tokenizerFolder, { addedTokens: learnedWords }) };
    }),
  );
  return (prompt) => {
    const conditions: Record<string, Condition> = {};
    for (const { component, tokenizer } of loaded) {
      const { inputIds, eosPosition } = tokenizer.encode(prompt);
      Object.assign(conditions, tokenConditions(component, inputIds, tokenizer.vocabularySize));
      if (learnedWords.length > 0)
        Object.assign(conditions, wordConditions(component, inputIds, tokenizer.vocabularySize));
      // SDXL reads the last encoder's vector at EOS beside the hidden states.
      const isPooled = unet.config.addition !== undefined && component === textEncoders.at(-1)?.component;
      if (isPooled) conditions[promptTokenInputs.eosPosition(component)] = int64s([eosPosition], []);
    }
    return conditions;
  };
}

/** Learned words have ids behind the vocabulary; an ordinary one takes their place. */
function tokenConditions(component: string, inputIds: readonly number[], vocabularySize: number): Conditions {
  const ids = inputIds.map((id) => (id < vocabularySize ? id : 0));
  return { [promptTokenInputs.inputIds(component)]: int64s(ids, [ids.length]) };
}

function wordConditions(component: string, inputIds: readonly number[], vocabularySize: number): Conditions {
  const rows = inputIds.map((id) => Math.max(0, id - vocabularySize));
  const marks = inputIds.map((id) => (id < vocabularySize ? 0 : 1));
  return {
    [promptTokenInputs.invertedRows(component)]: int64s(rows, [rows.length]),
    [promptTokenInputs.isInverted(component)]: int64s(marks, [marks.length, 1]),
  };
}

function int64s(values: readonly number[], dims: readonly number[]): Condition {
  return { dims, data: BigInt64Array.from(values, BigInt) };
}
