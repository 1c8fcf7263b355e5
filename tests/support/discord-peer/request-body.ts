/** Reads what was sent, and holds it to Discord's published description of its API. */
import type { IncomingMessage } from 'node:http';
import type { ZodMiniType } from 'zod/mini';
import { apiError } from './api-error.ts';

export interface SentFile {
  readonly index: number;
  readonly name: string;
  readonly type: string;
  readonly bytes: Uint8Array;
}

export interface SentBody {
  readonly json: unknown;
  readonly files: readonly SentFile[];
}

const MAX_REQUEST_BYTES = 25 * 2 ** 20;

/**
 * Reads a body of JSON or of multipart form data.
 * @throws ApiError for a request of more than 25 MiB
 */
export async function readBody(request: IncomingMessage): Promise<SentBody> {
  const bytes = await collect(request);
  if (bytes.byteLength === 0) return { json: undefined, files: [] };
  const type = request.headers['content-type'] ?? '';
  if (!type.startsWith('multipart/form-data')) return { json: JSON.parse(bytes.toString('utf8')), files: [] };
  const form = await new Response(bytes, { headers: { 'content-type': type } }).formData();
  const json: unknown = JSON.parse(String(form.get('payload_json') ?? '{}'));
  const files = [...form].flatMap(([key, value]) => {
    const index = /^files\[(\d+)\]$/.exec(key)?.[1];
    return index === undefined || typeof value === 'string' ? [] : [readFile(Number(index), value)];
  });
  return { json, files: await Promise.all(files) };
}

async function collect(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes <= MAX_REQUEST_BYTES) chunks.push(chunk);
  }
  if (sizeBytes > MAX_REQUEST_BYTES) throw apiError('requestTooLarge');
  return Buffer.concat(chunks);
}

async function readFile(index: number, file: File): Promise<SentFile> {
  return { index, name: file.name, type: file.type, bytes: new Uint8Array(await file.arrayBuffer()) };
}

/**
 * Checks a body against a schema of Discord's description, and that it has no field which the description lacks:
 * Discord ignores those silently, so they are mistakes of the sender.
 * @throws ApiError with the places that are wrong
 */
export function checkBody(schema: ZodMiniType, json: unknown): void {
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    throw apiError(
      'invalidFormBody',
      parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`),
    );
  }
  const unknown = unknownFields(json, parsed.data);
  if (unknown.length > 0)
    throw apiError('invalidFormBody', [`fields that Discord does not know: ${unknown.join(', ')}`]);
}

/** Paths of fields that parsing dropped. */
function unknownFields(sent: unknown, kept: unknown, path = ''): string[] {
  if (typeof sent !== 'object' || sent === null || typeof kept !== 'object' || kept === null) return [];
  return Object.entries(sent).flatMap(([key, value]) => {
    const here = path === '' ? key : `${path}.${key}`;
    return key in kept ? unknownFields(value, (kept as Record<string, unknown>)[key], here) : [here];
  });
}
