import { readdir, rename, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { modelKey } from '../../../worker/training/model-key.ts';
import { saveTinyPipeline } from '../../support/tiny-folder.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

test('model key stays the same until the folder or its weights change', async () => {
  const parent = await temporaryFolder();
  const folder = join(parent, 'model');
  await saveTinyPipeline(folder);
  const key = await modelKey(await openModelFolder(folder));
  expect(key).toMatch(/^[0-9a-f]{16}$/);
  expect(await modelKey(await openModelFolder(folder))).toBe(key);

  const [weights] = (await readdir(join(folder, 'unet'))).filter((name) => name.endsWith('.safetensors'));
  const file = join(folder, 'unet', weights!);
  const { atime, mtime } = await stat(file);
  await utimes(file, atime, new Date(mtime.getTime() + 5000));
  expect(await modelKey(await openModelFolder(folder))).not.toBe(key);
  await utimes(file, atime, mtime);

  await rename(folder, join(parent, 'moved'));
  expect(await modelKey(await openModelFolder(join(parent, 'moved')))).not.toBe(key);
});
