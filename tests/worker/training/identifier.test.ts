import { existsSync, readFileSync } from 'node:fs';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { loadTokenizer } from '../../../worker/diffusion/tokenizer.ts';
import { chooseIdentifier } from '../../../worker/training/identifier.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

const SMALL = join(import.meta.dirname, '../../golden/small-vocabulary');
const PUBLISHED = join(import.meta.dirname, '../../../../shared/reference/published/clip-tokenizer');

test('identifier of a small vocabulary is a letter that no merge contains', async () => {
  const tokenizer = await loadTokenizer(SMALL);
  const identifier = chooseIdentifier(tokenizer);
  expect(identifier).toMatch(/^[a-z]$/);
  expect(tokenizer.tokenize(identifier)).toEqual([tokenizer.idOf(`${identifier}</w>`)]);
  const merges = readFileSync(join(SMALL, 'merges.txt'), 'utf8').split('\n').slice(1).join('\n').replaceAll('</w>', '');
  expect(merges).not.toContain(identifier);
  expect(tokenizer.tokenize(`a photo of ${identifier} dog`)).toHaveLength(
    tokenizer.tokenize('a photo of dog').length + 1,
  );
});

test('identifier is another one when the first is to be avoided', async () => {
  const tokenizer = await loadTokenizer(SMALL);
  const first = chooseIdentifier(tokenizer);
  const second = chooseIdentifier(tokenizer, { avoid: [first.toUpperCase()] });
  expect(second).not.toBe(first);
  expect(chooseIdentifier(tokenizer)).toBe(first);
});

test('identifier is asked for when the vocabulary has nothing left', async () => {
  const tokenizer = await loadTokenizer(SMALL);
  const avoid = [...'abcdefghijklmnopqrstuvwxyz'];
  expect(() => chooseIdentifier(tokenizer, { avoid })).toThrow(UserError);
});

test('identifier is the latest word ending of consonants when merges make some', async () => {
  const folder = await temporaryFolder();
  for (const name of ['tokenizer_config.json', 'special_tokens_map.json']) {
    await copyFile(join(SMALL, name), join(folder, name));
  }
  const vocab: Record<string, number> = JSON.parse(await readFile(join(SMALL, 'vocab.json'), 'utf8'));
  const base = Object.keys(vocab).filter((_, id) => id < 512);
  const merged = (letters: string) => {
    const pairs = [...letters.slice(0, -1), `${letters.at(-1)}</w>`];
    return pairs.slice(1).map((_, i) => [pairs.slice(0, i + 1).join(''), pairs[i + 1]!] as const);
  };
  // Four words end in "lfz", three in "rkq", of which one token begins with it, and two in "mbx"; "hlp" stands alone.
  const words = ['alfz', 'olfz', 'elfz', 'ulfz', 'arkq', 'orkq', 'erkq', 'rkqs', 'ambx', 'ombx'];
  const endings = ['lfz', 'rkq', 'mbx', 'hlp'];
  const pairs = new Map([...words, ...endings].flatMap(merged).map((pair) => [pair.join(''), pair]));
  const tokens = [...base, ...pairs.keys(), '<|startoftext|>', '<|endoftext|>'];
  // Enough entries before them that the endings lie in the later half.
  const filler = Array.from({ length: 600 }, (_, i) => `#${i}#`);
  const all = [...base, ...filler, ...tokens.slice(512)];
  await writeFile(join(folder, 'vocab.json'), JSON.stringify(Object.fromEntries(all.map((token, id) => [token, id]))));
  const lines = [...pairs.values()].map((pair) => pair.join(' '));
  await writeFile(join(folder, 'merges.txt'), ['#version: 0.2', ...lines, ''].join('\n'));
  expect(chooseIdentifier(await loadTokenizer(folder))).toBe('lfz');
});

test.skipIf(!existsSync(PUBLISHED))("identifier of CLIP's vocabulary is one late token", async () => {
  const folder = await temporaryFolder();
  for (const name of ['vocab.json', 'merges.txt']) await copyFile(join(PUBLISHED, name), join(folder, name));
  await copyFile(join(SMALL, 'tokenizer_config.json'), join(folder, 'tokenizer_config.json'));
  const tokenizer = await loadTokenizer(folder);
  expect(chooseIdentifier(tokenizer)).toBe('nts');
  expect(tokenizer.tokenize('a photo of nts dog')).toHaveLength(5);
  expect(tokenizer.tokenize('nts')).toEqual([43775]);
  expect(chooseIdentifier(tokenizer, { avoid: ['NTS'] })).toBe('lls');
});
