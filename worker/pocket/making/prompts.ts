import type { Tokenizer } from '../../diffusion/tokenizer.ts';
import { writeCaption } from '../renderer/captions.ts';
import { randomChoices } from '../renderer/random-choices.ts';
import { trainingScene } from './scenes.ts';

/** A caption of a training picture: every `wording` says it in other words. */
export function trainingCaption(index: number, wording: number): string {
  return writeCaption(trainingScene(index).described, randomChoices(wording));
}

/** A caption of a repainted training picture, which has neither colour nor pattern that a caption could name. */
export function repaintedCaption(index: number, wording: number): string {
  const { color, ...described } = trainingScene(index).described;
  return writeCaption({ ...described, pattern: 'plain' }, randomChoices(wording));
}

/**
 * Encodes the world's captions to ids, `maxLength` of each, remembering words: CLIP's words are encoded each for itself, and
 * a lesson asks for thousands of captions in a minute.
 */
export function rememberingTokenizer(tokenizer: Tokenizer): (caption: string) => BigInt64Array {
  const known = new Map<string, readonly number[]>();
  const idsOf = (word: string) => {
    const ids = known.get(word) ?? tokenizer.tokenize(word);
    known.set(word, ids);
    return ids;
  };
  const { maxLength, bosTokenId, eosTokenId, padTokenId } = tokenizer;
  return (caption) => {
    const words = caption.split(' ').flatMap(idsOf);
    const ids = [bosTokenId, ...words.slice(0, maxLength - 2), eosTokenId];
    return BigInt64Array.from({ length: maxLength }, (_, i) => BigInt(ids[i] ?? padTokenId));
  };
}
