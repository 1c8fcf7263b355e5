import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AwsClient } from 'aws4fetch';
import type { Config, S3Config } from './config.ts';
import type { BlobRef } from './jobs.ts';

/** Blobs by the hash of their bytes: pictures, maps, photos and weights. */
export interface BlobStore {
  /** Keeps bytes; the same bytes are kept once. */
  put(bytes: Uint8Array, about: { type: string; name?: string | undefined }): Promise<BlobRef>;
  /** @throws Error if there is no such blob, or its bytes are not those that were kept */
  get(blob: Pick<BlobRef, 'hash'>): Promise<Uint8Array>;
  has(blob: Pick<BlobRef, 'hash'>): Promise<boolean>;
  /** Does nothing if there is no such blob. */
  remove(blob: Pick<BlobRef, 'hash'>): Promise<void>;
  /** Throws if the store cannot be reached. */
  check(): Promise<void>;
}

interface Bytes {
  write(key: string, bytes: Uint8Array): Promise<void>;
  read(key: string): Promise<Uint8Array | undefined>;
  has(key: string): Promise<boolean>;
  remove(key: string): Promise<void>;
  check(): Promise<void>;
}

export function openStore(config: Pick<Config, 'dataDir' | 's3'>): BlobStore {
  return storeOf(config.s3 ? objectStore(config.s3) : folderStore(join(config.dataDir, 'blobs')));
}

function storeOf(place: Bytes): BlobStore {
  return {
    put: async (bytes, { type, name }) => {
      const hash = hashOf(bytes);
      if (!(await place.has(hash))) await place.write(hash, bytes);
      return { hash, type, sizeBytes: bytes.byteLength, ...(name !== undefined && { name }) };
    },
    get: async ({ hash }) => {
      const bytes = await place.read(hash);
      if (bytes === undefined) throw new Error(`Cannot read blob ${hash}: it must be in the store, got nothing`);
      if (hashOf(bytes) !== hash) throw new Error(`Cannot read blob ${hash}: its bytes must have that hash`);
      return bytes;
    },
    has: ({ hash }) => place.has(hash),
    remove: ({ hash }) => place.remove(hash),
    check: () => place.check(),
  };
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Files named by their hash, in folders by its first two digits. */
function folderStore(folder: string): Bytes {
  const path = (key: string) => join(folder, key.slice(0, 2), key);
  return {
    write: async (key, bytes) => {
      const file = path(key);
      await mkdir(dirname(file), { recursive: true });
      // Renamed when whole, so that a reader never sees half of it.
      const unfinished = `${file}.${process.pid}.${Math.random().toString(36).slice(2)}`;
      await writeFile(unfinished, bytes);
      await rename(unfinished, file);
    },
    read: (key) => readFile(path(key)).then((bytes) => new Uint8Array(bytes), undefinedIfMissing),
    has: (key) =>
      stat(path(key)).then(
        () => true,
        (error) => undefinedIfMissing(error) ?? false,
      ),
    remove: (key) => unlink(path(key)).catch(undefinedIfMissing),
    check: async () => {
      await mkdir(folder, { recursive: true });
    },
  };
}

function undefinedIfMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
  return undefined;
}

/** An S3-compatible bucket; keys as in the folder. */
function objectStore({ endpoint, region, bucket, accessKeyId, secretAccessKey }: S3Config): Bytes {
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: 's3', retries: 4 });
  const url = (key: string) => `${endpoint}/${bucket}/blobs/${key.slice(0, 2)}/${key}`;
  const request = async (key: string, init: RequestInit, accepted: readonly number[]) => {
    const response = await client.fetch(url(key), init);
    if (accepted.includes(response.status)) return response;
    const reason = (await response.text()).slice(0, 300);
    throw new Error(`Cannot ${init.method} ${url(key)}: the store answered ${response.status} ${reason}`);
  };
  return {
    write: async (key, bytes) => {
      await request(key, { method: 'PUT', body: Buffer.from(bytes) }, [200]);
    },
    read: async (key) => {
      const response = await request(key, { method: 'GET' }, [200, 404]);
      return response.status === 404 ? undefined : new Uint8Array(await response.arrayBuffer());
    },
    has: async (key) => (await request(key, { method: 'HEAD' }, [200, 404])).status === 200,
    remove: async (key) => {
      await request(key, { method: 'DELETE' }, [200, 204, 404]);
    },
    check: async () => {
      await request('0'.repeat(64), { method: 'HEAD' }, [200, 404]);
    },
  };
}
