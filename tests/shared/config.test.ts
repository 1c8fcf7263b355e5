import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';

test('the local page is there when no chat token is set, and not beside one unless asked for', () => {
  expect(loadConfig({}).web).toEqual({ host: '127.0.0.1', port: 7860, password: undefined });
  expect(loadConfig({ DISCORD_TOKEN: 'x' }).web).toBeUndefined();
  expect(loadConfig({ DISCORD_TOKEN: 'x', WEB_PORT: '80' }).web?.port).toBe(80);
});

test('a page that other machines can reach demands a password', () => {
  expect(() => loadConfig({ WEB_HOST: '0.0.0.0' })).toThrow(/WEB_PASSWORD: needed with WEB_HOST 0\.0\.0\.0/);
  expect(loadConfig({ WEB_HOST: '0.0.0.0', WEB_PASSWORD: 'long enough' }).web?.host).toBe('0.0.0.0');
});

test('a secret comes from the file that NAME_FILE names', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sketchbooth-config-'));
  const file = join(folder, 'token');
  await writeFile(file, 'abc\n');
  expect(loadConfig({ DISCORD_TOKEN_FILE: file }).discord?.token).toBe('abc');
  expect(() => loadConfig({ DISCORD_TOKEN_FILE: file, DISCORD_TOKEN: 'y' })).toThrow(/exclude each other/);
  await rm(folder, { recursive: true });
  expect(() => loadConfig({ DISCORD_TOKEN_FILE: file })).toThrow(/must be a readable file/);
});

test('every bad variable is named at once', () => {
  expect(() => loadConfig({ REDIS_URL: 'http://x', WEB_PORT: 'eighty', S3_ENDPOINT: 'http://s3' })).toThrow(
    expect.objectContaining({ message: expect.stringMatching(/REDIS_URL.*WEB_PORT/s) }),
  );
  expect(() => loadConfig({ S3_ENDPOINT: 'http://s3' })).toThrow(/S3_BUCKET: needed with S3_ENDPOINT/);
  expect(() => loadConfig({ SLACK_BOT_TOKEN: 'x' })).toThrow(UserError);
});

test('an empty line of an env file counts as not set', () => {
  expect(loadConfig({ DISCORD_TOKEN: '', REDIS_URL: '' }).discord).toBeUndefined();
});

test('a share of the connections to Discord is read whole or refused', () => {
  const read = (shards: string) => loadConfig({ DISCORD_TOKEN: 'x', DISCORD_SHARDS: shards }).discord?.shards;
  expect(read('2-3/8')).toEqual({ ids: [2, 3], count: 8 });
  expect(read('0/1')).toEqual({ ids: [0], count: 1 });
  for (const wrong of ['8/8', '3-2/8', '0-1', 'all']) expect(() => read(wrong)).toThrow('DISCORD_SHARDS');
});
