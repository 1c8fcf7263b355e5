/** Serves the REST API and the files, breaks where a test asks for it, and records what Discord would object to. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { ApiError, apiError } from './api-error.ts';
import { readBody, type SentBody } from './request-body.ts';
import { ROUTES, type RouteState } from './routes.ts';
import { fileAt } from './world.ts';

/** What goes wrong with the next requests of a method and path. */
export type Fault = {
  readonly method: string;
  readonly path: RegExp;
  /** How many requests it spoils; one by default. */
  times?: number;
  /** Called when a connection is about to break. */
  readonly onHit?: () => void;
} & (
  | { readonly kind: 'status'; readonly status: number }
  | { readonly kind: 'rate-limit'; readonly retryAfterSeconds: number }
  /** Carried out, and then the connection breaks before the answer. */
  | { readonly kind: 'lose-answer' }
  /** The connection breaks before anything is carried out. */
  | { readonly kind: 'lose-request' }
  | { readonly kind: 'delay'; readonly delayMs: number }
);

export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly sent: SentBody;
  readonly status: number;
  readonly code?: number;
}

export interface ApiServer {
  readonly server: Server;
  readonly requests: RecordedRequest[];
  /** What Discord would object to; tests expect none. */
  readonly violations: string[];
  readonly faults: Fault[];
}

const API_PREFIX = '/api/v10';

export function createApiServer(state: () => RouteState): ApiServer {
  const requests: RecordedRequest[] = [];
  const violations: string[] = [];
  const faults: Fault[] = [];
  /** When a rate-limited route may be asked again. */
  const closedUntil = new Map<string, number>();

  const server = createServer((request, response) => {
    const address = new URL(request.url ?? '/', 'http://localhost');
    const serve = address.pathname.startsWith(API_PREFIX) ? serveApi : serveFile;
    serve(request, response, address).catch((error: unknown) => {
      violations.push(`${request.method} ${address.pathname}: the peer failed: ${String(error)}`);
      response.destroy();
    });
  });

  async function serveFile(_request: IncomingMessage, response: ServerResponse, address: URL): Promise<void> {
    const file = fileAt(state().world, address);
    if (file === undefined) response.writeHead(404).end('This content is no longer available.');
    else response.writeHead(200, { 'content-type': file.type }).end(file.bytes);
  }

  async function serveApi(request: IncomingMessage, response: ServerResponse, address: URL): Promise<void> {
    const method = request.method ?? 'GET';
    const path = address.pathname.slice(API_PREFIX.length);
    const fault = takeFault(faults, method, path);
    checkPatience(`${method} ${path}`);
    if (fault?.kind === 'lose-request') return lose(request, fault);
    if (fault?.kind === 'delay') await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
    let sent: SentBody = { json: undefined, files: [] };
    try {
      sent = await readBody(request);
      if (fault?.kind === 'rate-limit') return limit(response, `${method} ${path}`, fault.retryAfterSeconds);
      if (fault?.kind === 'status')
        throw new ApiError(`${fault.status}: asked for by the test`, { status: fault.status, code: -1 });
      const result = carryOut(request, { method, path, address, sent });
      requests.push({ method, path, sent, status: result === undefined ? 204 : 200 });
      checkMentions({ method, path, sent });
      if (fault?.kind === 'lose-answer') return lose(request, fault);
      reply(response, result === undefined ? 204 : 200, result);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      refuse(response, error, { method, path, sent });
    }
  }

  function carryOut(
    request: IncomingMessage,
    { method, path, address, sent }: { method: string; path: string; address: URL; sent: SentBody },
  ): unknown {
    const route = ROUTES.find((one) => one.method === method && one.path.test(path));
    if (route === undefined) throw apiError('notFound');
    if (route.isOpen !== true && request.headers.authorization !== `Bot ${state().world.token}`)
      throw apiError('unauthorized');
    const params = route.path.exec(path)!.slice(1);
    return route.answer(state(), { params, query: address.searchParams, sent });
  }

  function refuse(
    response: ServerResponse,
    error: ApiError,
    { method, path, sent }: { method: string; path: string; sent: SentBody },
  ): void {
    requests.push({ method, path, sent, status: error.status, code: error.code });
    const isObjection = error.code === 50035 || error.code === 50006 || (error.code === 0 && error.status === 404);
    if (isObjection) violations.push(`${method} ${path}: ${error.message} ${JSON.stringify(error.details ?? '')}`);
    reply(response, error.status, { message: error.message, code: error.code, errors: error.details });
  }

  /** A bot that does not say whom it mentions can be made to call everyone. */
  function checkMentions({ method, path, sent }: { method: string; path: string; sent: SentBody }): void {
    const isMessage = /^\/(channels\/\d+|webhooks\/\d+\/[^/]+)(\/messages.*)?$/.test(path) && method !== 'GET';
    if (!isMessage || method === 'DELETE') return;
    const { allowed_mentions } = sent.json as { allowed_mentions?: { parse?: unknown[] } };
    if (allowed_mentions?.parse?.length !== 0) violations.push(`${method} ${path}: mentions are not restricted`);
  }

  function limit(response: ServerResponse, route: string, retryAfterSeconds: number): void {
    closedUntil.set(route, performance.now() + retryAfterSeconds * 1000);
    response.setHeader('retry-after', String(retryAfterSeconds));
    response.setHeader('x-ratelimit-scope', 'shared');
    reply(response, 429, { message: 'You are being rate limited.', retry_after: retryAfterSeconds, global: false });
  }

  function checkPatience(route: string): void {
    const waitMs = (closedUntil.get(route) ?? 0) - performance.now();
    // Timers may be a few milliseconds early.
    if (waitMs > 20) violations.push(`${route}: asked again ${Math.round(waitMs)} ms before Retry-After`);
  }

  return { server, requests, violations, faults };
}

function lose(request: IncomingMessage, fault: Fault): void {
  fault.onHit?.();
  request.socket.destroy();
}

function takeFault(faults: Fault[], method: string, path: string): Fault | undefined {
  const fault = faults.find((one) => one.method === method && one.path.test(path));
  if (fault === undefined) return undefined;
  fault.times = (fault.times ?? 1) - 1;
  if (fault.times === 0) faults.splice(faults.indexOf(fault), 1);
  return fault;
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  // An answer of 204 must not claim to be JSON: clients then parse nothing and fail.
  if (body === undefined) return void response.writeHead(status).end();
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
