import { existsSync, readFileSync } from 'node:fs';
import { copyFile, cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { loadTokenizer } from '../../../worker/diffusion/tokenizer.ts';

interface Golden {
  texts: string[];
  cases: { padToken: string; addedTokens: string[]; padTokenId: number; tokens: number[][]; inputIds: number[][] }[];
}

const SMALL = join(import.meta.dirname, '../../golden/small-vocabulary');
const PUBLISHED = join(import.meta.dirname, '../../../../shared/reference/published');
const golden: Golden = JSON.parse(readFileSync(join(import.meta.dirname, '../../golden/tokenizer.json'), 'utf8'));
const hasPublished = existsSync(PUBLISHED);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tokenizer-'));
  await cp(SMALL, folder, { recursive: true });
});
afterEach(() => rm(folder, { recursive: true }));

async function edit(name: string, change: (text: string) => string): Promise<void> {
  const file = join(folder, name);
  await writeFile(file, change(await readFile(file, 'utf8')));
}

describe.each(golden.cases)('with padding $padToken and the added tokens $addedTokens', (expected) => {
  const load = async () => {
    await edit('special_tokens_map.json', (text) =>
      text.replace('"pad_token": "<|endoftext|>"', `"pad_token": "${expected.padToken}"`),
    );
    return loadTokenizer(folder, { addedTokens: expected.addedTokens });
  };

  test('tokenizer gives the ids of transformers', async () => {
    const tokenizer = await load();
    expect(golden.texts.map((text) => tokenizer.tokenize(text))).toEqual(expected.tokens);
  });

  test('tokenizer pads and truncates to 77 like transformers', async () => {
    const tokenizer = await load();
    expect(tokenizer.padTokenId).toBe(expected.padTokenId);
    expect(golden.texts.slice(-3).map((text) => tokenizer.encode(text).inputIds)).toEqual(expected.inputIds);
  });
});

test('tokenizer says which text was cut off when the prompt is too long', async () => {
  const tokenizer = await loadTokenizer(SMALL);
  const fitting = 'a photo of a dog, '.repeat(40);
  const { inputIds, eosPosition, truncated } = tokenizer.encode(fitting);
  expect(inputIds).toHaveLength(77);
  expect(eosPosition).toBe(76);
  expect(tokenizer.tokenize(truncated)).toEqual(tokenizer.tokenize(fitting).slice(75));
  expect(tokenizer.encode('a photo of a dog').truncated).toBe('');
});

test('eosPosition is the first EOS when added tokens have larger ids and the text is empty', async () => {
  const tokenizer = await loadTokenizer(SMALL, { addedTokens: ['<cat-toy>'] });
  const { inputIds, eosPosition } = tokenizer.encode('<cat-toy> <CAT-TOY>');
  expect(inputIds.slice(0, 4)).toEqual([654, 656, 656, 655]);
  expect(eosPosition).toBe(3);
  expect(tokenizer.encode('').eosPosition).toBe(1);
});

test('tokenizer looks up tokens and ids in both directions', async () => {
  const tokenizer = await loadTokenizer(SMALL, { addedTokens: ['<cat-toy>'] });
  expect(tokenizer.vocabularySize).toBe(656);
  expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.padTokenId, tokenizer.maxLength]).toEqual([
    654, 655, 655, 77,
  ]);
  expect(tokenizer.idOf('<cat-toy>')).toBe(656);
  expect(tokenizer.tokenOf(656)).toBe('<cat-toy>');
  expect(tokenizer.tokenOf(tokenizer.idOf('a</w>') ?? -1)).toBe('a</w>');
  expect(tokenizer.idOf('no such token')).toBeUndefined();
  expect(tokenizer.tokenOf(657)).toBeUndefined();
});

test('tokenizer.json gives the same ids when there is no vocab.json', async () => {
  const vocab = JSON.parse(await readFile(join(SMALL, 'vocab.json'), 'utf8'));
  const merges = (await readFile(join(SMALL, 'merges.txt'), 'utf8')).trim().split('\n').slice(1);
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify({ model: { vocab, merges } }));
  for (const name of ['vocab.json', 'merges.txt', 'special_tokens_map.json']) await rm(join(folder, name));
  const tokenizer = await loadTokenizer(folder);
  expect(golden.texts.map((text) => tokenizer.tokenize(text))).toEqual(golden.cases[0]?.tokens);
});

test('loading fails naming the file when one is missing or malformed', async () => {
  const fails = async (change: () => Promise<unknown>, message: RegExp) => {
    await cp(SMALL, folder, { recursive: true });
    await change();
    const error: unknown = await loadTokenizer(folder).catch((reason) => reason);
    expect(error).toBeInstanceOf(UserError);
    expect(String(error)).toMatch(message);
  };
  await fails(() => rm(join(folder, 'vocab.json')), /vocab\.json and merges\.txt/);
  await fails(() => rm(join(folder, 'merges.txt')), /merges\.txt is missing/);
  await fails(() => rm(join(folder, 'tokenizer_config.json')), /tokenizer_config\.json is missing/);
  await fails(() => writeFile(join(folder, 'vocab.json'), '{"a":'), /vocab\.json: it must be JSON/);
  await fails(() => writeFile(join(folder, 'vocab.json'), '{"a": "b"}'), /vocab\.json: /);
  await fails(() => edit('vocab.json', (text) => text.replace('"!":0,', '')), /0 to 654 without gaps/);
  await fails(() => edit('merges.txt', (text) => `${text}lonely\n`), /merges\.txt: .*got "lonely"/);
  await fails(
    () => edit('vocab.json', (text) => text.replace('<|startoftext|>', '<sot>')),
    /must hold the token "<\|start/,
  );
  await fails(() => writeFile(join(folder, 'special_tokens_map.json'), '{"pad_token": 3}'), /special_tokens_map\.json/);
});

test('added tokens are refused when the vocabulary has them or two of them are equal', async () => {
  await expect(loadTokenizer(SMALL, { addedTokens: ['a'] })).rejects.toThrow(/new to the vocabulary.*got "a"/);
  await expect(loadTokenizer(SMALL, { addedTokens: ['<x>', '<X>'] })).rejects.toThrow(/got "<X>"/);
  await expect(loadTokenizer(SMALL, { addedTokens: [' '] })).rejects.toThrow(UserError);
});

// models.md 3.1: the published vocabulary is too large for the repository.
describe.skipIf(!hasPublished)('published vocabulary (skipped where ../shared/reference is absent)', () => {
  const load = async (model: string) => {
    for (const source of [join(PUBLISHED, 'clip-tokenizer'), join(PUBLISHED, model, 'tokenizer')]) {
      for (const name of await readdir(source)) await copyFile(join(source, name), join(folder, name));
    }
    return loadTokenizer(folder);
  };

  test('tokenizer of Stable Diffusion 1 gives the published ids', async () => {
    const tokenizer = await load('stable-diffusion-v1-5');
    expect(tokenizer.vocabularySize).toBe(49408);
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.padTokenId]).toEqual([49406, 49407, 49407]);
    const expected: [string, number[]][] = [
      ['a photo of sks dog', [320, 1125, 539, 48136, 1929]],
      ['A photo of  SKS   Dog!!', [320, 1125, 539, 48136, 1929, 748]],
      ['café naïve – 東京 🐶', [15304, 1097, 35689, 563, 1224, 48338, 21078, 361, 10631]],
      [
        "it's they're I'll we've 12345 a_b-c",
        [585, 568, 889, 982, 328, 1342, 649, 1200, 272, 273, 274, 275, 276, 320, 318, 321, 268, 322],
      ],
      [
        "a photo of <s0><s1> dog, in the style of Monet's 1889 painting",
        [
          320, 1125, 539, 283, 338, 271, 28015, 338, 272, 285, 1929, 267, 530, 518, 1844, 539, 24499, 568, 272, 279,
          279, 280, 3086,
        ],
      ],
      ['ﬁne Å é', [171, 105, 223, 1422, 127, 354, 4166]],
      ['hello<|endoftext|>world', [3306, 49407, 1002]],
      ['xjy uiu zwx', [87, 73, 344, 84, 15575, 89, 3561]],
      ['', []],
    ];
    for (const [text, ids] of expected) expect(tokenizer.tokenize(text)).toEqual(ids);
  });

  test('tokenizer of Stable Diffusion 2 cuts out exclamation marks, its padding', async () => {
    const tokenizer = await load('stable-diffusion-2-1');
    expect(tokenizer.padTokenId).toBe(0);
    expect(tokenizer.tokenize('A photo of  SKS   Dog!!')).toEqual([320, 1125, 539, 48136, 1929, 0, 0]);
    expect(tokenizer.encode('dog').inputIds).toEqual([49406, 1929, 49407, ...Array<number>(74).fill(0)]);
  });
});
