import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AwsClient } from 'aws4fetch';
import S3rver from 's3rver';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BlobStore, openStore } from '../../shared/store.ts';

let folder: string;
let server: S3rver;
let stores: Record<'folder' | 's3', BlobStore>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-store-'));
  server = new S3rver({
    port: 0,
    silent: true,
    directory: join(folder, 's3'),
    configureBuckets: [{ name: 'art', configs: [] }],
  });
  const { port } = await server.run();
  const s3 = {
    endpoint: `http://127.0.0.1:${port}`,
    region: 'us-east-1',
    bucket: 'art',
    accessKeyId: 'S3RVER',
    secretAccessKey: 'S3RVER',
  };
  stores = {
    folder: openStore({ dataDir: folder, s3: undefined }),
    s3: openStore({ dataDir: folder, s3 }),
  };
});
afterAll(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

describe.each(['folder', 's3'] as const)('a store in a %s', (kind) => {
  test('gives back what was put, under the hash of its bytes', async () => {
    const store = stores[kind];
    const bytes = new Uint8Array([1, 2, 3, 255]);
    const blob = await store.put(bytes, { type: 'image/png', name: 'a.png' });
    const hash = createHash('sha256').update(bytes).digest('hex');
    expect(blob).toEqual({ hash, type: 'image/png', sizeBytes: 4, name: 'a.png' });
    expect([...(await store.get(blob))]).toEqual([1, 2, 3, 255]);
    expect(await store.put(bytes, { type: 'image/png' })).toMatchObject({ hash });
  });

  test('says what is missing, and forgets what is removed', async () => {
    const store = stores[kind];
    const blob = await store.put(new Uint8Array([9]), { type: 'image/png' });
    await store.remove(blob);
    await store.remove(blob);
    expect(await store.has(blob)).toBe(false);
    await expect(store.get(blob)).rejects.toThrow(/must be in the store/);
    await store.check();
  });
});

test('bytes that changed on disk are not given out', async () => {
  const blob = await stores.folder.put(new Uint8Array([5, 5]), { type: 'image/png' });
  const place = join(folder, 'blobs', blob.hash.slice(0, 2));
  expect(await readdir(place)).toEqual([blob.hash]);
  await writeFile(join(place, blob.hash), 'other');
  await expect(stores.folder.get(blob)).rejects.toThrow(/must have that hash/);
});

// "GET Object" of AWS's page "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk".
test('requests are signed as the published example is', async () => {
  const client = new AwsClient({
    accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
    secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
    region: 'us-east-1',
    service: 's3',
  });
  const request = await client.sign('https://examplebucket.s3.amazonaws.com/test.txt', {
    headers: {
      Range: 'bytes=0-9',
      'X-Amz-Content-Sha256': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
      'X-Amz-Date': '20130524T000000Z',
    },
    aws: { datetime: '20130524T000000Z', allHeaders: true },
  });
  expect(request.headers.get('authorization')).toContain(
    'Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  );
});
