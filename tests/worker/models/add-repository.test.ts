import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Config, loadConfig } from '../../../shared/config.ts';
import { UserError } from '../../../shared/errors.ts';
import {
  type AddRepositoryOptions,
  addRepository,
  type DownloadListener,
} from '../../../worker/models/add-repository.ts';
import {
  type Fault,
  type HubServer,
  type HubServerOptions,
  noise,
  publishedFiles,
  startHubServer,
} from '../../support/hub-server.ts';

const ID = 'maker/tiny-sd';
const UNET = 'unet/diffusion_pytorch_model.safetensors';
// Patient, so that a busy machine is not taken for a stalled hub.
const LIMITS = { stallMs: 10_000, maxAttempts: 3, backoffMs: 1 };
const IMPATIENT = { ...LIMITS, stallMs: 500 };
const SILENT: DownloadListener = {
  onStart: () => undefined,
  onBytes: () => undefined,
  onWhole: () => undefined,
  onRetry: () => undefined,
};
const NEEDED = [
  'model_index.json',
  'scheduler/scheduler_config.json',
  'text_encoder/config.json',
  'text_encoder/model.safetensors',
  'tokenizer/merges.txt',
  'tokenizer/special_tokens_map.json',
  'tokenizer/vocab.json',
  'unet/config.json',
  UNET,
  'vae/config.json',
  'vae/diffusion_pytorch_model.safetensors',
];

let modelsDir: string;
let server: HubServer | undefined;
let retries: string[];

beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'sketchbooth-hub-'));
  retries = [];
});

afterEach(async () => {
  await server?.close();
  server = undefined;
  await rm(modelsDir, { recursive: true });
});

async function start(options: Partial<HubServerOptions> = {}): Promise<HubServer> {
  server = await startHubServer({ id: ID, files: publishedFiles(), ...options });
  return server;
}

function configFor(hubEndpoint: string, hubToken?: string): Config {
  return loadConfig({ DATA_DIR: modelsDir, MODELS_DIR: modelsDir, HF_ENDPOINT: hubEndpoint, HF_TOKEN: hubToken });
}

function add(hub: HubServer, options: Partial<AddRepositoryOptions> & { token?: string } = {}): Promise<string> {
  const { token, ...rest } = options;
  return addRepository(ID, configFor(hub.endpoint, token), {
    listener: { ...SILENT, onRetry: (_what, reason) => retries.push(reason) },
    signal: new AbortController().signal,
    limits: LIMITS,
    ...rest,
  });
}

async function filesUnder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.map((entry) => relative(folder, join(entry.parentPath, entry.name))).sort();
}

async function expectWholeModel(folder: string, source = publishedFiles()): Promise<void> {
  expect(await filesUnder(folder)).toEqual(NEEDED);
  for (const path of NEEDED) {
    expect(Buffer.compare(await readFile(join(folder, path)), source.get(path) ?? new Uint8Array()), path).toBe(0);
  }
  expect(await readdir(modelsDir)).toEqual(['tiny-sd']);
}

async function expectRefusal(attempt: Promise<string>, message: RegExp): Promise<void> {
  const error = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UserError);
  expect(String(error)).toMatch(message);
  expect(existsSync(join(modelsDir, 'tiny-sd'))).toBe(false);
  expect(existsSync(join(modelsDir, 'tiny-sd.lock'))).toBe(false);
}

test('download equals the source byte for byte and takes only what the engine reads', async () => {
  const folder = await add(await start());
  expect(folder).toBe(join(modelsDir, 'tiny-sd'));
  await expectWholeModel(folder);
  expect(retries).toEqual([]);
});

test('download takes the variant where there is one and plain files elsewhere', async () => {
  const folder = await add(await start(), { variant: 'fp16', name: 'half' });
  expect(folder).toBe(join(modelsDir, 'half'));
  const files = await filesUnder(folder);
  expect(files).toContain('unet/diffusion_pytorch_model.fp16.safetensors');
  expect(files).not.toContain(UNET);
  expect(files).toContain('vae/diffusion_pytorch_model.safetensors');
});

test('listing is read to its end when it comes in pages', async () => {
  const hub = await start({ pageSize: 3 });
  await expectWholeModel(await add(hub));
  expect(hub.requests.filter(({ path }) => path.includes('/tree/'))).toHaveLength(6);
});

test.each<[string, Fault, RegExp]>([
  ['the connection is cut', { kind: 'cut', afterBytes: 100_000 }, /connection broke/],
  ['the connection is cut before the first byte', { kind: 'cut', afterBytes: 0 }, /connection broke/],
  ['the body stalls', { kind: 'stall', afterBytes: 100_000 }, /no byte came for 0\.5 s/],
  ['bytes are wrong', { kind: 'wrongBytes' }, /sha256 hash must be/],
  ['the file is announced too long', { kind: 'wrongLength', extraBytes: 9 }, /must have 300000 bytes, got 300009/],
  ['the file is announced too short', { kind: 'wrongLength', extraBytes: -9 }, /must have 300000 bytes, got 299991/],
  ['more bytes come than listed', { kind: 'wrongChunkedLength', extraBytes: 9 }, /must have 300000 bytes, got more/],
  ['fewer bytes come than listed', { kind: 'wrongChunkedLength', extraBytes: -9 }, /ended after 299991 of 300000/],
  ['the server fails', { kind: 'status', status: 500 }, /HTTP 500/],
  ['the server asks to slow down', { kind: 'status', status: 429 }, /HTTP 429/],
])('download succeeds with a second try when %s', async (_case, fault, reason) => {
  const hub = await start();
  hub.plan(UNET, fault);
  await expectWholeModel(await add(hub, { limits: fault.kind === 'stall' ? IMPATIENT : LIMITS }));
  expect(retries).toHaveLength(1);
  expect(retries[0]).toMatch(reason);
});

test.each<[string, Fault, RegExp]>([
  ['is cut', { kind: 'cut', afterBytes: 10 }, /connection broke.*after 3 tries; run the same command again/],
  ['stalls', { kind: 'stall', afterBytes: 10 }, /no byte came.*after 3 tries/],
  ['lies about its bytes', { kind: 'wrongBytes' }, /sha256 hash must be.*after 3 tries/],
  ['lies about its length', { kind: 'wrongLength', extraBytes: 1 }, /must have 300000 bytes.*after 3 tries/],
  ['fails', { kind: 'status', status: 503 }, /HTTP 503.*after 3 tries/],
])('download ends in an error that names the file when every answer %s', async (_case, fault, message) => {
  const hub = await start();
  hub.plan(UNET, fault, fault, fault);
  const limits = fault.kind === 'stall' ? IMPATIENT : LIMITS;
  await expectRefusal(add(hub, { limits }), new RegExp(`download ${UNET} of ${ID}: .*${message.source}`));
  expect(existsSync(join(modelsDir, 'tiny-sd.partial', UNET))).toBe(false);
});

test('small files are verified by their git hash', async () => {
  const hub = await start();
  hub.plan('unet/config.json', { kind: 'wrongBytes' });
  await expectWholeModel(await add(hub));
  expect(retries[0]).toMatch(/gitBlob hash must be/);
});

test('cut download asks only for the rest, on condition that the file is the same', async () => {
  const hub = await start();
  hub.plan(UNET, { kind: 'cut', afterBytes: 100_000 });
  await expectWholeModel(await add(hub));
  const [first, second] = hub.requests.filter(({ path }) => path === UNET);
  expect(first?.headers.range).toBeUndefined();
  expect(second?.headers.range).toBe('bytes=100000-');
  expect(second?.headers['if-range']).toMatch(/^"[0-9a-f]{32}"$/);
  expect(hub.sentBytes(UNET)).toBe(300_000);
});

test('cut download starts again when the server ignores Range', async () => {
  const hub = await start();
  hub.plan(UNET, { kind: 'cut', afterBytes: 100_000 }, { kind: 'ignoreRange' });
  await expectWholeModel(await add(hub));
  expect(hub.sentBytes(UNET)).toBe(400_000);
});

test('cut download starts again when the server answers with another range', async () => {
  const hub = await start();
  hub.plan(UNET, { kind: 'cut', afterBytes: 100_000 }, { kind: 'wrongRange' });
  await expectWholeModel(await add(hub));
  expect(retries[1]).toMatch(/must answer with bytes 100000-299999\/300000, got bytes 99999-/);
});

test('cut download starts again when the server says that the range is past the end', async () => {
  const hub = await start();
  hub.plan(UNET, { kind: 'cut', afterBytes: 100_000 }, { kind: 'status', status: 416 });
  await expectWholeModel(await add(hub));
});

test('second command keeps what the first brought and drops what has changed', async () => {
  const hub = await start();
  const failures: Fault[] = [{ kind: 'cut', afterBytes: 100_000 }, ...Array(2).fill({ kind: 'status', status: 500 })];
  hub.plan(UNET, ...failures);
  await expectRefusal(add(hub), /HTTP 500/);
  const changed = publishedFiles().set(UNET, noise(300_000, 77)).set('unet/config.json', noise(99, 78));
  for (const path of [UNET, 'unet/config.json']) hub.publish(path, changed.get(path) ?? new Uint8Array());
  const before = hub.sentBytes('vae/diffusion_pytorch_model.safetensors');
  await expectWholeModel(await add(hub), changed);
  expect(hub.sentBytes('vae/diffusion_pytorch_model.safetensors') - before).toBeLessThanOrEqual(80_000);
});

test('aborted download resumes with the rest only', async () => {
  const hub = await start();
  hub.plan(UNET, { kind: 'stall', afterBytes: 120_000 });
  const abort = new AbortController();
  const first = add(hub, { signal: abort.signal });
  await vi.waitUntil(() => partSize() === 120_000, { timeout: 20_000 });
  abort.abort(new UserError('Stopped by the person'));
  await expectRefusal(first, /Stopped by the person/);
  await expectWholeModel(await add(hub));
  expect(hub.sentBytes(UNET)).toBe(300_000);
});

test('download of a killed process resumes with the rest only', async () => {
  const hub = await start();
  hub.plan(UNET, { kind: 'stall', afterBytes: 120_000 });
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', childSource(hub)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  await vi.waitUntil(() => partSize() === 120_000, { timeout: 20_000 });
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(existsSync(join(modelsDir, 'tiny-sd.lock'))).toBe(true);
  expect(existsSync(join(modelsDir, 'tiny-sd'))).toBe(false);
  await expectWholeModel(await add(hub));
  expect(hub.sentBytes(UNET)).toBe(300_000);
}, 30_000);

function partSize(): number {
  return statSync(join(modelsDir, 'tiny-sd.partial', `${UNET}.part`), { throwIfNoEntry: false })?.size ?? 0;
}

function childSource(hub: HubServer): string {
  const module = new URL('../../../worker/models/add-repository.ts', import.meta.url).href;
  const nothing = '() => undefined';
  return `
    import { addRepository } from ${JSON.stringify(module)};
    const listener = { onStart: ${nothing}, onBytes: ${nothing}, onWhole: ${nothing}, onRetry: ${nothing} };
    const signal = new AbortController().signal;
    await addRepository(${JSON.stringify(ID)}, ${JSON.stringify(configFor(hub.endpoint))}, { listener, signal });
  `;
}

test('files of another variant do not stay in a model that was begun with them', async () => {
  const hub = await start();
  hub.plan('vae/diffusion_pytorch_model.safetensors', ...Array(3).fill({ kind: 'status', status: 500 }));
  await expectRefusal(add(hub, { variant: 'fp16' }), /HTTP 500/);
  await expectWholeModel(await add(hub));
});

test('notes that a killed process left beside a whole file do not get into the model', async () => {
  const hub = await start();
  hub.plan(UNET, ...Array(3).fill({ kind: 'status', status: 500 }));
  await expectRefusal(add(hub), /HTTP 500/);
  const note = join(modelsDir, 'tiny-sd.partial', 'vae/config.json.part.etag');
  await mkdir(dirname(note), { recursive: true });
  await writeFile(note, 'etag');
  await expectWholeModel(await add(hub));
});

test('file that was damaged after its download is downloaded again', async () => {
  const hub = await start();
  hub.plan(UNET, ...Array(3).fill({ kind: 'status', status: 500 }));
  await expectRefusal(add(hub), /HTTP 500/);
  const vae = join(modelsDir, 'tiny-sd.partial', 'vae/diffusion_pytorch_model.safetensors');
  await mkdir(dirname(vae), { recursive: true });
  await writeFile(vae, noise(80_000, 99));
  await expectWholeModel(await add(hub));
});

test('token goes to the hub and not to the storage that it redirects to', async () => {
  const hub = await start({ withStorage: true });
  await expectWholeModel(await add(hub, { token: 'hf_secret' }));
  const atStorage = hub.requests.filter(({ origin }) => origin === 'storage');
  const atHub = hub.requests.filter(({ origin }) => origin === 'hub');
  expect(atStorage.map(({ path }) => path)).toContain(UNET);
  expect(atStorage.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
  expect(new Set(atHub.map(({ headers }) => headers.authorization))).toEqual(new Set(['Bearer hf_secret']));
});

test('cut download from the storage resumes there, and an expired link is asked for again', async () => {
  const hub = await start({ withStorage: true });
  hub.plan(UNET, { kind: 'cut', afterBytes: 100_000 }, { kind: 'status', status: 403 });
  await expectWholeModel(await add(hub));
  expect(hub.sentBytes(UNET)).toBe(300_000);
});

test('request carries no authorization without a token', async () => {
  const hub = await start();
  await add(hub);
  expect(hub.requests.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
});

test.each([
  [401, undefined, /HTTP 401.*accept its terms on its page and set HF_TOKEN/],
  [403, 'hf_other', /HTTP 403.*with the account that HF_TOKEN belongs to/],
  [404, undefined, /no such repository, revision or file/],
  [418, undefined, /HTTP 418/],
])('hub that answers %i ends in an error that says what to do', async (apiStatus, token, message) => {
  const hub = await start({ apiStatus });
  await expectRefusal(add(hub, token === undefined ? {} : { token }), message);
  expect(hub.requests).toHaveLength(1);
});

test('hub that cannot be reached ends in an error that names it', async () => {
  const hub = await start();
  await hub.close();
  server = undefined;
  await expectRefusal(
    add(hub),
    /no connection to 127\.0\.0\.1:\d+ \(ECONNREFUSED\); check the network and HF_ENDPOINT/,
  );
});

test.each(['../../escaped.json', '/etc/escaped.json', 'unet\\..\\..\\escaped.json', 'unet//config.json', 'C:/x.json'])(
  'listing with the unsafe path %s is refused',
  async (path) => {
    const hub = await start({ extraPaths: [path] });
    await expectRefusal(add(hub), /file paths must stay inside the folder/);
    expect(await readdir(modelsDir)).toEqual([]);
  },
);

test('download that does not fit the disk is refused with the numbers', async () => {
  const hub = await start({ listedSizes: new Map([[UNET, 2 ** 52]]) });
  await expectRefusal(add(hub), /4\.5 PB are still to come.*100 MB must stay free, got .* free in/);
  expect(hub.sentBytes(UNET)).toBe(0);
});

test('second process is refused while the first adds the same model', async () => {
  const hub = await start();
  const lock = join(modelsDir, 'tiny-sd.lock');
  await writeFile(lock, JSON.stringify({ pid: process.ppid, host: hostname(), token: 'other' }));
  await expect(add(hub)).rejects.toThrow(`process ${process.ppid} on ${hostname()} at work`);
  expect(existsSync(lock)).toBe(true);
});

test('two calls at once give one model and one refusal', async () => {
  const hub = await start();
  const results = await Promise.allSettled([add(hub), add(hub)]);
  expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  await sleep(20);
  await expectWholeModel(join(modelsDir, 'tiny-sd'));
});

test('model that is there already is not downloaded again', async () => {
  const hub = await start();
  await add(hub);
  const before = hub.requests.length;
  await expect(add(hub)).rejects.toThrow(/its name must be new.*choose another with --name/);
  expect(hub.requests).toHaveLength(before);
});

test.each(['not a repository', 'a/b/c', '../up', './missing-folder'])(
  'reference "%s" is refused',
  async (reference) => {
    const hub = await start();
    const options = { listener: SILENT, signal: new AbortController().signal, limits: LIMITS };
    await expect(addRepository(reference, configFor(hub.endpoint), options)).rejects.toThrow(
      /must be an existing folder or organisation\/name/,
    );
    expect(hub.requests).toEqual([]);
  },
);
