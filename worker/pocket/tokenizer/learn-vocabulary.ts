/** A byte-pair vocabulary in CLIP's form: 256 bytes, the same 256 as ends of words, merges, two special tokens. */
export interface Vocabulary {
  /** Ids from 0 without gaps. */
  readonly vocab: { readonly [token: string]: number };
  readonly merges: readonly (readonly [string, string])[];
}

const WORD_END = '</w>';
export const BOS_TOKEN = '<|startoftext|>';
export const EOS_TOKEN = '<|endoftext|>';

/** A word in pieces, and how often the texts hold it. */
interface SplitWord {
  readonly pieces: readonly string[];
  readonly count: number;
}

/**
 * Learns merges until each word of the texts is one token, the most frequent pair first, then adds the rare endings.
 * @param rareEndings  words of consonants that no text holds; each becomes a token, as well as its ending in three words
 *   ("nts": "ants", "ents", "ints"), which is what tells `chooseIdentifier` that it is rare alone; the first one comes last
 * @see Sennrich et al. (arXiv 1508.07909), algorithm 1; OpenAI's CLIP, simple_tokenizer.py for the byte alphabet
 */
export function learnVocabulary(texts: readonly string[], rareEndings: readonly string[]): Vocabulary {
  const merges = learnMerges([...countWords(texts)].map(([word, count]) => ({ pieces: splitWord(word), count })));
  const known = new Set(merges.map(([left, right]) => left + right));
  for (const merge of rareEndings.toReversed().flatMap(rareMerges)) {
    if (!known.has(merge.join(''))) merges.push(merge);
    known.add(merge.join(''));
  }
  const bytes = byteAlphabet();
  const tokens = [
    ...bytes,
    ...bytes.map((byte) => byte + WORD_END),
    ...merges.map((merge) => merge.join('')),
    BOS_TOKEN,
    EOS_TOKEN,
  ];
  return { vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges };
}

/** The words and marks of the texts, in order of their first appearance. */
export function countWords(texts: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.matchAll(/\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/gu))
      counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}

function splitWord(word: string): string[] {
  const letters = [...word];
  return [...letters.slice(0, -1), letters.at(-1) + WORD_END];
}

function learnMerges(words: readonly SplitWord[]): (readonly [string, string])[] {
  const merges: (readonly [string, string])[] = [];
  let split = words;
  for (let pair = mostFrequentPair(split); pair !== undefined; pair = mostFrequentPair(split)) {
    const merge = pair;
    merges.push(merge);
    split = split.map(({ pieces, count }) => ({ pieces: mergePair(pieces, merge), count }));
  }
  return merges;
}

/** Of equally frequent pairs the one that is first in the alphabet. */
function mostFrequentPair(words: readonly SplitWord[]): [string, string] | undefined {
  const counts = new Map<string, number>();
  for (const { pieces, count } of words) {
    for (let i = 0; i + 1 < pieces.length; i++) {
      const pair = `${pieces[i]} ${pieces[i + 1]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  const [best] = [...counts].sort(([a, countA], [b, countB]) => countB - countA || (a < b ? -1 : 1));
  const [left, right] = best?.[0].split(' ') ?? [];
  return left === undefined || right === undefined ? undefined : [left, right];
}

function mergePair(pieces: readonly string[], [left, right]: readonly [string, string]): string[] {
  const merged: string[] = [];
  for (let i = 0; i < pieces.length; i++) {
    const isPair = pieces[i] === left && pieces[i + 1] === right;
    merged.push(isPair ? left + right : (pieces[i] ?? ''));
    if (isPair) i++;
  }
  return merged;
}

/** "nts": t s, n ts, then a nts, e nts, i nts. */
function rareMerges(ending: string): [string, string][] {
  const pieces = splitWord(ending);
  const inner = pieces.slice(1, -1).reverse();
  let right = pieces.at(-1) ?? '';
  const merges: [string, string][] = [];
  for (const left of [...inner, pieces[0] ?? '']) {
    merges.push([left, right]);
    right = left + right;
  }
  const words = ['a', 'e', 'i'].map((vowel): [string, string] => [vowel, right]);
  return [...merges, ...words];
}

/** A printable character for each byte: itself where it is printable, else one from U+0100 on. */
function byteAlphabet(): string[] {
  const isPrintable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const others = bytes.filter((byte) => !isPrintable(byte));
  return [
    ...bytes.filter(isPrintable).map((byte) => String.fromCodePoint(byte)),
    ...others.map((_, index) => String.fromCodePoint(256 + index)),
  ];
}
