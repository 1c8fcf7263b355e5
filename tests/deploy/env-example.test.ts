import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../shared/config.ts';

const root = join(import.meta.dirname, '../..');
const lines = readFileSync(join(root, 'deploy/env.example'), 'utf8').split('\n');
const entries = lines.flatMap((line) => {
  const [, name, value] = /^([A-Z0-9_]+)=(.*)$/.exec(line) ?? [];
  return name === undefined ? [] : [[name, value ?? ''] as const];
});

test('the example names every variable that is read, and no other', () => {
  const source = readFileSync(join(root, 'shared/config.ts'), 'utf8');
  const schema = source.slice(source.indexOf('const environmentSchema'), source.indexOf('.superRefine'));
  const read = [...schema.matchAll(/^ {4}([A-Z0-9_]+):/gm)].map(([, name]) => name);
  expect(entries.map(([name]) => name).toSorted()).toEqual(read.toSorted());
});

test('what the example sets is what holds without it', () => {
  const { DATA_DIR: _, WEB_PORT: __, ...rest } = Object.fromEntries(entries);
  expect(loadConfig({ ...rest, DATA_DIR: '/data' })).toEqual(loadConfig({ DATA_DIR: '/data' }));
});
