import { expect, test } from 'vitest';
import { progressLines } from '../../../worker/models/download-progress.ts';
import { formatBytes } from '../../../worker/models/format-bytes.ts';

test('progress prints one line per tenth of the download and one per file', () => {
  const lines: string[] = [];
  const progress = progressLines((line) => lines.push(line));
  const file = { path: 'unet/config.json', sizeBytes: 1000, hash: { algorithm: 'gitBlob' as const, hex: '' } };
  progress.onStart([file, { ...file, path: 'vae/config.json' }]);
  for (const received of [0, 150, 250, 450, 460, 1000]) progress.onBytes(file, received);
  progress.onRetry('download it', 'the connection broke');
  progress.onWhole(file);
  expect(lines).toEqual([
    '2 files, 2 kB',
    '10 % of 2 kB',
    '20 % of 2 kB',
    '50 % of 2 kB',
    'Trying again to download it: the connection broke',
    'unet/config.json: 1 kB, verified',
  ]);
});

// Lengths of published files, as their hub shows them.
test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1 kB'],
  [492_265_874, '492 MB'],
  [3_438_167_540, '3.44 GB'],
  [10_270_077_736, '10.3 GB'],
])('%i bytes are written as %s', (sizeBytes, text) => {
  expect(formatBytes(sizeBytes)).toBe(text);
});
