import { UserError } from '../../shared/errors.ts';
import type { Tokenizer } from '../diffusion/tokenizer.ts';

export interface IdentifierOptions {
  /** Words that must not be chosen: the class noun, or identifiers that the model has learned already; in any case. */
  readonly avoid?: readonly string[] | undefined;
}

/** A word of the vocabulary that is one token. */
interface Candidate {
  readonly id: number;
  readonly word: string;
}

const WORD_END = '</w>';
/** Letters of an identifier. */
const LENGTHS = [3, 4];
/** Without a vowel it is hardly a word or a name. */
const CONSONANTS = /^[b-df-hj-np-tv-xz]{3,4}$/;
/** So many words show that a token was merged because they end in it, and not because it is written alone. */
const MIN_WORDS_ENDING_IN_IT = 3;
/** Rare tokens that mean something in pictures. SKS: a rifle. */
const KNOWN_NAMES: ReadonlySet<string> = new Set(['sks']);

/**
 * Chooses a rare word, one token long, that says little to the model before it learns the subject; always the same one.
 * Byte-pair merges are learned in the order of their frequency, so a late token is rare as a word. Most late tokens
 * of three or four consonants are still acronyms with a strong prior; one in which several words of the vocabulary end
 * (-nts, -lls) owes its rank to word endings, and is rarer alone than its rank says. The latest such token is taken that
 * begins no other token. A vocabulary too small for it gives a letter that none of its merges contains.
 * CLIP's published vocabulary gives "nts".
 * @throws UserError if the vocabulary has neither
 * @see DreamBooth (arXiv 2208.12242), section 3.2: short rare tokens, because words and random letters have
 *   a prior of their own
 */
export function chooseIdentifier(tokenizer: Tokenizer, { avoid = [] }: IdentifierOptions = {}): string {
  const avoided = new Set(avoid.map((word) => word.toLowerCase()));
  const tokens = Array.from({ length: tokenizer.vocabularySize }, (_, id) => tokenizer.tokenOf(id) ?? '');
  const candidates = [...wordEndings(tokens), ...unusedLetters(tokens)];
  const chosen = candidates.find(({ id, word }) => !avoided.has(word) && isOneToken(tokenizer, { id, word }));
  if (chosen !== undefined) return chosen.word;
  throw new UserError(
    'Cannot choose an identifier: the vocabulary must hold a rare token of consonants or an unused letter; please name one',
  );
}

/** Latest merge first, down to the middle of the vocabulary: earlier tokens are not rare. */
function wordEndings(tokens: readonly string[]): Candidate[] {
  const endings = countEndings(tokens);
  const beginnings = new Set(tokens.flatMap(beginningsOf));
  return tokens
    .map((token, id) => ({ id, word: wordOf(token) ?? '' }))
    .slice(tokens.length / 2)
    .filter(({ word }) => CONSONANTS.test(word) && !KNOWN_NAMES.has(word))
    .filter(({ word }) => (endings.get(word) ?? 0) >= MIN_WORDS_ENDING_IN_IT && !beginnings.has(word))
    .reverse();
}

/** Counts the words of the vocabulary by their last three and four letters, where a vowel precedes these. */
function countEndings(tokens: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const word of tokens.map(wordOf)) {
    if (word === undefined || !/^[a-z]+$/.test(word)) continue;
    for (const length of LENGTHS) {
      if (!/[aeiouy]$/.test(word.slice(0, -length))) continue;
      const ending = word.slice(-length);
      counts.set(ending, (counts.get(ending) ?? 0) + 1);
    }
  }
  return counts;
}

/** The letters that a token begins with, unless they are the whole word. */
function beginningsOf(token: string): string[] {
  return LENGTHS.filter((length) => token.slice(length) !== WORD_END).map((length) => token.slice(0, length));
}

/** From z to a, because the rarest letters of English are near the end. */
function unusedLetters(tokens: readonly string[]): Candidate[] {
  const merged = tokens.filter((token) => token.replace(WORD_END, '').length > 1 && !token.startsWith('<|'));
  const used = new Set(merged.flatMap((token) => [...token.replace(WORD_END, '')]));
  return tokens
    .map((token, id) => ({ id, word: wordOf(token) ?? '' }))
    .filter(({ word }) => /^[a-z]$/.test(word) && !used.has(word))
    .reverse();
}

function wordOf(token: string): string | undefined {
  return token.endsWith(WORD_END) ? token.slice(0, -WORD_END.length) : undefined;
}

function isOneToken(tokenizer: Tokenizer, { id, word }: Candidate): boolean {
  const ids = tokenizer.tokenize(word);
  return ids.length === 1 && ids[0] === id;
}
