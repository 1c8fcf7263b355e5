import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';

/** What may go wrong when one file is asked for; each fault is used up by one request. */
export type Fault =
  /** The connection breaks after this many bytes of the answer. */
  | { kind: 'cut'; afterBytes: number }
  /** Nothing more comes after this many bytes, and the connection stays open. */
  | { kind: 'stall'; afterBytes: number }
  /** The first byte of the answer is another one. */
  | { kind: 'wrongBytes' }
  /** The whole file with this many bytes more (zeros) or fewer, honestly announced. */
  | { kind: 'wrongLength'; extraBytes: number }
  /** The same without Content-Length. */
  | { kind: 'wrongChunkedLength'; extraBytes: number }
  /** Answers 200 with the whole file to a Range request. */
  | { kind: 'ignoreRange' }
  /** Answers 206 with a range that nobody asked for. */
  | { kind: 'wrongRange' }
  | { kind: 'status'; status: number };

export interface ServedRequest {
  /** Path inside the repository, or the API's address. */
  path: string;
  headers: IncomingHttpHeaders;
  /** 'storage' is the second origin, to which large files are redirected. */
  origin: 'hub' | 'storage';
  /** Bytes of body written. */
  sentBytes: number;
}

export interface HubServerOptions {
  id: string;
  files: ReadonlyMap<string, Uint8Array>;
  /** Entries per page of the listing. */
  pageSize?: number;
  /** Status of every answer of the API. */
  apiStatus?: number;
  /** Paths listed besides the files. */
  extraPaths?: string[];
  /** Listed sizes that are not the true ones. */
  listedSizes?: ReadonlyMap<string, number>;
  /** Sends requests for .safetensors to a second origin, as hubs do. */
  withStorage?: boolean;
}

/** A model hub on this machine that keeps its listing and files in memory, and misbehaves on demand. */
export interface HubServer {
  /** Origin without a trailing slash. */
  endpoint: string;
  requests: ServedRequest[];
  /** Plans faults for the next requests of a file, one each. */
  plan(path: string, ...faults: Fault[]): void;
  /** Publishes another version of a file. */
  publish(path: string, bytes: Uint8Array): void;
  sentBytes(path: string): number;
  close(): Promise<void>;
}

const COMMIT = '0123456789abcdef0123456789abcdef01234567';

/** Starts a hub on a free port of 127.0.0.1. */
export async function startHubServer(options: HubServerOptions): Promise<HubServer> {
  const state: HubState = {
    options,
    files: new Map(options.files),
    faults: new Map(),
    requests: [],
    storage: undefined,
  };
  const storage = await listen((request, response) => serveFile(state, request, { response, origin: 'storage' }));
  if (options.withStorage === true) state.storage = originOf(storage);
  const hub = await listen((request, response) => serveHub(state, request, response));
  return {
    endpoint: originOf(hub),
    requests: state.requests,
    plan: (path, ...faults) => state.faults.set(path, faults),
    publish: (path, bytes) => state.files.set(path, bytes),
    sentBytes: (path) =>
      state.requests.filter((request) => request.path === path).reduce((sum, { sentBytes }) => sum + sentBytes, 0),
    close: async () => {
      for (const server of [hub, storage]) {
        server.closeAllConnections();
        server.close();
        await once(server, 'close');
      }
    },
  };
}

interface HubState {
  options: HubServerOptions;
  files: Map<string, Uint8Array>;
  faults: Map<string, Fault[]>;
  requests: ServedRequest[];
  storage: string | undefined;
}

async function listen(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function originOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function serveHub(state: HubState, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://hub');
  const isApi = url.pathname.startsWith('/api/');
  const isStored = state.storage !== undefined && filePath(url).endsWith('.safetensors');
  if (!isApi && !isStored) {
    serveFile(state, request, { response, origin: 'hub' });
    return;
  }
  state.requests.push({ path: url.pathname, headers: request.headers, origin: 'hub', sentBytes: 0 });
  if (isApi) response.end(JSON.stringify(apiAnswer(state.options, url, { files: state.files, response })));
  else response.writeHead(302, { location: `${state.storage}${url.pathname}?signature=1` }).end();
}

/** Returns the body; writes a status or header where it is not the usual one. */
function apiAnswer(
  { id, apiStatus, pageSize = 1000, extraPaths = [], listedSizes }: HubServerOptions,
  url: URL,
  { files, response }: { files: ReadonlyMap<string, Uint8Array>; response: ServerResponse },
): unknown {
  const api = `/api/models/${id}`;
  const isKnown = [`${api}/revision/main`, `${api}/tree/${COMMIT}`].includes(url.pathname);
  if (apiStatus !== undefined || !isKnown) {
    response.writeHead(apiStatus ?? 404);
    return { error: 'refused' };
  }
  if (url.pathname.includes('/revision/')) return { id, sha: COMMIT, siblings: [] };
  const entries = [
    { type: 'directory', oid: gitBlobSha1(new Uint8Array()), size: 0, path: 'unet' },
    ...[...files].map(([path, bytes]) => listingEntry(path, bytes, listedSizes?.get(path) ?? bytes.length)),
    ...extraPaths.map((path) => listingEntry(path, new Uint8Array(1), 1)),
  ];
  const from = Number(url.searchParams.get('cursor') ?? 0);
  if (from + pageSize < entries.length) {
    const next = `https://elsewhere.example${url.pathname}?recursive=true&cursor=${from + pageSize}`;
    response.setHeader('link', `<${next}>; rel="next"`);
  }
  return entries.slice(from, from + pageSize);
}

/** Large files are listed by the sha256 of their bytes, and with the git hash of a pointer that is of no use. */
function listingEntry(path: string, bytes: Uint8Array, size: number): object {
  if (!path.endsWith('.safetensors')) return { type: 'file', oid: gitBlobSha1(bytes), size, path };
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return {
    type: 'file',
    oid: gitBlobSha1(bytes.slice(0, 1)),
    size,
    path,
    lfs: { oid: sha256, size, pointerSize: 134 },
  };
}

function gitBlobSha1(bytes: Uint8Array): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
}

function filePath(url: URL): string {
  return decodeURIComponent(url.pathname.split(`/resolve/${COMMIT}/`)[1] ?? url.pathname);
}

function serveFile(
  { files, faults, requests }: HubState,
  request: IncomingMessage,
  { response, origin }: { response: ServerResponse; origin: ServedRequest['origin'] },
): void {
  const path = filePath(new URL(request.url ?? '/', 'http://hub'));
  const served: ServedRequest = { path, headers: request.headers, origin, sentBytes: 0 };
  requests.push(served);
  const bytes = files.get(path);
  const fault = faults.get(path)?.shift();
  if (bytes === undefined || fault?.kind === 'status') {
    response.writeHead(fault?.kind === 'status' ? fault.status : 404).end();
    return;
  }
  const etag = `"${createHash('md5').update(bytes).digest('hex')}"`;
  const body = Buffer.from(bytes.subarray(answerRange({ request, response, etag, size: bytes.length, fault })));
  if (fault?.kind === 'wrongBytes') body[0] = (body[0] ?? 0) ^ 255;
  sendBody({ response, body, fault, served });
}

interface RangeQuestion {
  request: IncomingMessage;
  response: ServerResponse;
  etag: string;
  size: number;
  fault: Fault | undefined;
}

/** Writes the status and the headers that belong to it; returns the first byte to send. */
function answerRange({ request, response, etag, size, fault }: RangeQuestion): number {
  response.setHeader('etag', etag);
  const first = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const isSame = (request.headers['if-range'] ?? etag) === etag;
  if (first === 0 || !isSame || fault?.kind === 'ignoreRange') return 0;
  response.statusCode = 206;
  const start = fault?.kind === 'wrongRange' ? first - 1 : first;
  response.setHeader('content-range', `bytes ${start}-${size - 1}/${size}`);
  return start;
}

interface Sending {
  response: ServerResponse;
  body: Buffer;
  fault: Fault | undefined;
  served: ServedRequest;
}

function sendBody({ response, body, fault, served }: Sending): void {
  const isLong = fault?.kind === 'wrongLength' || fault?.kind === 'wrongChunkedLength';
  const whole = isLong ? Buffer.concat([body, Buffer.alloc(64)]).subarray(0, body.length + fault.extraBytes) : body;
  // Once the headers have left, Node cannot add the length that it then knows.
  if (fault?.kind === 'wrongChunkedLength') response.flushHeaders();
  else response.setHeader('content-length', whole.length);
  if (fault?.kind === 'cut' || fault?.kind === 'stall') {
    const sent = whole.subarray(0, fault.afterBytes);
    served.sentBytes = sent.length;
    response.flushHeaders();
    response.write(sent, () => {
      // A receiver drops what it has not read yet when the connection breaks, and tests count those bytes.
      if (fault.kind === 'cut') setTimeout(() => response.destroy(), 200);
    });
    return;
  }
  served.sentBytes = whole.length;
  response.end(whole);
}

/** The files of a published SD 1.x repository in small: configurations, and noise for weights. */
export function publishedFiles(): Map<string, Uint8Array> {
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value, undefined, 2));
  return new Map([
    ['model_index.json', json(MODEL_INDEX)],
    ['README.md', json('not needed')],
    ['scheduler/scheduler_config.json', json({ _class_name: 'PNDMScheduler' })],
    ['tokenizer/vocab.json', json({ '<|startoftext|>': 0 })],
    ['tokenizer/merges.txt', new TextEncoder().encode('#version: 0.2\n')],
    ['tokenizer/special_tokens_map.json', json({})],
    ['text_encoder/config.json', json({ hidden_size: 768 })],
    ['text_encoder/model.safetensors', noise(50_000, 1)],
    ['unet/config.json', json({ in_channels: 4, cross_attention_dim: 768 })],
    ['unet/diffusion_pytorch_model.safetensors', noise(300_000, 2)],
    ['unet/diffusion_pytorch_model.fp16.safetensors', noise(150_000, 3)],
    ['unet/diffusion_pytorch_model.bin', noise(1000, 4)],
    ['vae/config.json', json({ latent_channels: 4 })],
    ['vae/diffusion_pytorch_model.safetensors', noise(80_000, 5)],
    ['v1-5-pruned.safetensors', noise(1000, 6)],
  ]);
}

const MODEL_INDEX = {
  _class_name: 'StableDiffusionPipeline',
  _diffusers_version: '0.6.0',
  requires_safety_checker: false,
  safety_checker: [null, null],
  scheduler: ['diffusers', 'PNDMScheduler'],
  text_encoder: ['transformers', 'CLIPTextModel'],
  tokenizer: ['transformers', 'CLIPTokenizer'],
  unet: ['diffusers', 'UNet2DConditionModel'],
  vae: ['diffusers', 'AutoencoderKL'],
};

/** Bytes without a pattern, so that a piece in the wrong place shows. */
export function noise(sizeBytes: number, seed: number): Uint8Array {
  const blocks = Array.from({ length: Math.ceil(sizeBytes / 32) }, (_, index) =>
    createHash('sha256').update(`${seed}:${index}`).digest(),
  );
  return new Uint8Array(Buffer.concat(blocks).subarray(0, sizeBytes));
}
