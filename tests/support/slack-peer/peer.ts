/**
 * A Slack workspace on this machine: the Web API with its servers' checks, Socket Mode or signed HTTP deliveries, and
 * people who type, press and react. What the bot does against Slack's rules is kept in `violations`.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type WebSocket, WebSocketServer } from 'ws';
import { ApiError, METHOD_SCOPES, type MethodContext, methods } from './methods.ts';
import {
  buttonPress,
  type Delivery,
  event,
  type FormValues,
  formSubmission,
  messageShortcut,
  reaction,
  type Saying,
  said,
  slashCommand,
  suggestionRequest,
} from './payloads.ts';
import { deliverByHttp } from './signed-delivery.ts';
import { type OpenView, type PeerMessage, type PeerUser, World } from './world.ts';

export const BOT_TOKEN = 'xoxb-test-token';
export const APP_TOKEN = 'xapp-test-token';
const SCOPES = new Set([
  'commands',
  'chat:write',
  'files:read',
  'files:write',
  'channels:history',
  'im:write',
  'users:read',
]);
const ACK_MS = 3000;

/** What goes wrong once, the next time that a method is called. */
export interface Fault {
  readonly method: string;
  readonly kind: 'rate-limited' | 'lose-answer' | 'refuse';
  readonly error?: string;
}

export class SlackPeer {
  readonly world = new World();
  readonly violations: string[] = [];
  readonly calls: { readonly method: string; readonly args: Record<string, unknown> }[] = [];
  scopes: ReadonlySet<string> = SCOPES;
  shareDelayMs = 50;
  takesPictures = true;
  /** Where deliveries go by HTTP; undefined sends them by Socket Mode. */
  httpTarget: string | undefined;
  readonly #faults: Fault[] = [];
  readonly #sockets = new Set<WebSocket>();
  #connections = 0;
  readonly #waiting = new Map<string, (payload: unknown) => void>();
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  readonly #gateway = new WebSocketServer({ server: this.#server, path: '/socket' });

  static async start(): Promise<SlackPeer> {
    const peer = new SlackPeer();
    peer.#gateway.on('connection', (socket) => peer.#connect(socket));
    await new Promise<void>((resolve) => peer.#server.listen(0, '127.0.0.1', resolve));
    return peer;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get api(): string {
    return `${this.origin}/api/`;
  }

  fail(fault: Fault): void {
    this.#faults.push(fault);
  }

  /** Closes every connection as Slack does when it moves an app to another server. */
  disconnect(): void {
    for (const socket of this.#sockets)
      socket.send(JSON.stringify({ type: 'disconnect', reason: 'refresh_requested' }));
  }

  /** Connections that were ever made. */
  get connections(): number {
    return this.#connections;
  }

  isConnected(): boolean {
    return this.#sockets.size > 0;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.terminate();
    this.#gateway.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  // What people do. Each returns what the bot acknowledged with.

  slash(command: string, text = '', user: PeerUser = this.world.ada, channel = 'C0STUDIO'): Promise<unknown> {
    return this.deliver(slashCommand(this.world, { command, text, user, channel }));
  }

  /** Presses the button with this label under a message. */
  press(message: PeerMessage, label: string, user: PeerUser = this.world.ada): Promise<unknown> {
    return this.deliver(buttonPress(this.world, message, { label, user }));
  }

  react(message: PeerMessage, emoji: string, user: PeerUser = this.world.ada): Promise<unknown> {
    return this.deliver(reaction(this.world, message, { emoji, user }));
  }

  /** Says something to the bot, with pictures if given. */
  say(text: string, { user = this.world.ada, ...more }: Partial<Saying> = {}): Promise<unknown> {
    return this.deliver(said(this.world, { text, user, files: [], threadTs: undefined, channel: 'C0STUDIO', ...more }));
  }

  event(what: object): Promise<unknown> {
    return this.deliver(event(this.world, what));
  }

  shortcut(callbackId: string, files: readonly Uint8Array[], user: PeerUser = this.world.ada): Promise<unknown> {
    return this.deliver(messageShortcut(this.world, { callbackId, files, user }));
  }

  submit(form: OpenView, values: FormValues): Promise<unknown> {
    return this.deliver(formSubmission(this.world, form, values));
  }

  /** Types into a list of a form, and gets what the bot suggests. */
  async suggest(form: OpenView, blockId: string, typed: string): Promise<string[]> {
    const answer = await this.deliver(suggestionRequest(this.world, form, { blockId, typed }));
    return ((answer as { options?: { value: string }[] }).options ?? []).map(({ value }) => value);
  }

  /** Hands a delivery to the bot and waits for its acknowledgement. */
  async deliver(delivery: Delivery): Promise<unknown> {
    const { httpTarget } = this;
    const answered = httpTarget === undefined ? this.#bySocket(delivery) : deliverByHttp(httpTarget, delivery);
    const late = sleep(ACK_MS, 'late', { ref: false });
    const outcome = await Promise.race([answered, late]);
    if (outcome === 'late') this.violations.push(`${delivery.type} was not acknowledged within ${ACK_MS} ms`);
    return outcome;
  }

  /** Waits until something is there. */
  async until<T>(find: () => T | undefined | false, what: string, timeoutMs = 20_000): Promise<T> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      const found = find();
      if (found !== undefined && found !== false) return found;
      if (Date.now() > end)
        throw new Error(`Waited ${timeoutMs} ms for ${what}; violations: ${this.violations.join('; ')}`);
      await sleep(20);
    }
  }

  #connect(socket: WebSocket): void {
    this.#sockets.add(socket);
    this.#connections++;
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('message', (data) => {
      const { envelope_id, payload } = JSON.parse(String(data)) as { envelope_id: string; payload: unknown };
      this.#waiting.get(envelope_id)?.(payload);
    });
    socket.send(JSON.stringify({ type: 'hello', num_connections: 1, connection_info: { app_id: 'A0APP' } }));
  }

  #bySocket({ type, payload }: Delivery): Promise<unknown> {
    const socket = [...this.#sockets].at(-1);
    if (!socket) throw new Error('The bot is not connected');
    const envelope_id = randomUUID();
    return new Promise((resolve) => {
      this.#waiting.set(envelope_id, resolve);
      socket.send(JSON.stringify({ envelope_id, type, accepts_response_payload: true, payload }));
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.origin);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    if (url.pathname.startsWith('/upload/')) return this.#takeUpload(url, body, response);
    if (url.pathname.startsWith('/files-pri/')) return this.#serveFile(url, request, response);
    const method = url.pathname.replace(/^\/api\//, '');
    const args = parseArgs(body);
    const fault = this.#takeFault(method);
    if (fault?.kind === 'rate-limited') {
      response.writeHead(429, { 'retry-after': '1' }).end('{"ok":false,"error":"ratelimited"}');
      return;
    }
    const answer = fault?.kind === 'refuse' ? { ok: false, error: fault.error } : this.#call(method, args, request);
    if (fault?.kind === 'lose-answer') {
      response.destroy();
      return;
    }
    const headers = { 'content-type': 'application/json', 'x-oauth-scopes': [...this.scopes].join(',') };
    response.writeHead(200, headers).end(JSON.stringify(answer));
  }

  #takeFault(method: string): Fault | undefined {
    const index = this.#faults.findIndex((fault) => fault.method === method);
    return index < 0 ? undefined : this.#faults.splice(index, 1)[0];
  }

  #call(method: string, args: Record<string, unknown>, request: IncomingMessage): object {
    const token = request.headers.authorization?.replace(/^Bearer /, '') ?? args['token'];
    if (method === 'apps.connections.open') {
      if (token !== APP_TOKEN) return { ok: false, error: 'invalid_auth' };
      return { ok: true, url: `${this.origin.replace('http', 'ws')}/socket` };
    }
    if (token !== BOT_TOKEN) return { ok: false, error: 'invalid_auth' };
    const scope = METHOD_SCOPES[method];
    if (scope !== undefined && !this.scopes.has(scope)) return { ok: false, error: 'missing_scope', needed: scope };
    const run = methods[method];
    if (!run) {
      this.violations.push(`unknown method ${method}`);
      return { ok: false, error: 'unknown_method' };
    }
    this.calls.push({ method, args });
    const { world, origin, shareDelayMs, takesPictures } = this;
    const context: MethodContext = { world, origin, shareDelayMs, takesPictures };
    try {
      return { ok: true, ...run(withoutToken(args), context) };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const isBroken = ['invalid_arguments', 'invalid_blocks'].includes(error.code) && !/not ready/.test(error.message);
      if (isBroken) this.violations.push(`${method}: ${error.message}`);
      return { ok: false, error: error.code };
    }
  }

  #takeUpload(url: URL, body: Buffer, response: ServerResponse): void {
    const file = this.world.files.get(url.pathname.split('/')[2] ?? '');
    if (file) file.bytes = body;
    response.writeHead(file ? 200 : 404).end('OK');
  }

  /** Files are for who has the token; others get the page that signs people in. */
  #serveFile(url: URL, request: IncomingMessage, response: ServerResponse): void {
    const file = this.world.files.get(url.pathname.split('/')[2] ?? '');
    const isAllowed = request.headers.authorization === `Bearer ${BOT_TOKEN}` && this.scopes.has('files:read');
    if (!isAllowed) response.writeHead(200, { 'content-type': 'text/html' }).end('<!DOCTYPE html><html>Sign in</html>');
    else if (!file) response.writeHead(404).end();
    else response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(file.bytes);
  }
}

/** Arguments come as a form whose structured values are JSON. */
function parseArgs(body: Buffer): Record<string, unknown> {
  const entries = [...new URLSearchParams(body.toString())].map(([name, value]) => {
    return [name, /^[[{]/.test(value) ? JSON.parse(value) : value];
  });
  return Object.fromEntries(entries);
}

function withoutToken({ token: _, ...args }: Record<string, unknown>): Record<string, unknown> {
  return args;
}
