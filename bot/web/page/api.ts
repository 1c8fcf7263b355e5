/** Requests to our own server. */
import type { CompletionSource, ResultAction } from '../../../commands/command.ts';
import type { BlobRef } from '../../../shared/jobs.ts';
import type { WireAcknowledgement, WireChannel, WireInvocation, WireMessage, WireState } from '../wire.ts';

/** What the server refused, in words for the person. */
export class RequestError extends Error {
  override readonly name = 'RequestError';
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

async function request<T>(method: string, path: string, body?: unknown): Promise<T> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { 'content-type': 'application/json' };
  }
  return answer(await fetchOrSay(path, init));
}

async function fetchOrSay(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init);
  } catch {
    throw new RequestError('Sketchbooth does not answer; is it still running?', 0);
  }
}

async function answer<T>(response: Response): Promise<T> {
  if (response.ok) return (await response.json()) as T;
  const { error } = (await response.json().catch(() => ({}))) as { error?: string };
  throw new RequestError(error ?? `Sketchbooth answered with ${response.status}`, response.status);
}

/** A fresh name for one deed, so that a request sent twice counts once. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const inChannel = (channel: string, what: string) => `/api/channels/${encodeURIComponent(channel)}/${what}`;

export interface History {
  readonly messages: WireMessage[];
  readonly revision: number;
  readonly hasMore: boolean;
}

export const api = {
  state: () => request<WireState>('GET', '/api/state'),
  signIn: (password: string) => request<unknown>('POST', '/api/session', { password }),
  signOut: () => request<unknown>('DELETE', '/api/session'),
  callMe: (name: string) => request<unknown>('POST', '/api/me', { name }),
  addChannel: (name: string) => request<WireChannel>('POST', '/api/channels', { name }),
  history: (channel: string, before?: number) =>
    request<History>('GET', `${inChannel(channel, 'messages')}${before === undefined ? '' : `?before=${before}`}`),
  say: (channel: string, text: string) =>
    request<unknown>('POST', inChannel(channel, 'messages'), { id: newId(), text }),
  invoke: (channel: string, invocation: WireInvocation) =>
    request<WireAcknowledgement>('POST', inChannel(channel, 'invocations'), invocation),
  press: (channel: string, press: { action: ResultAction; jobId: string; argument?: number | undefined }) =>
    request<WireAcknowledgement>('POST', inChannel(channel, 'presses'), { id: newId(), ...press }),
  react: (message: number, emoji: string) =>
    request<WireAcknowledgement>('POST', `/api/messages/${message}/reactions`, { id: newId(), emoji }),
  complete: (channel: string, source: CompletionSource, typed: string) =>
    request<string[]>('GET', `/api/completions?${new URLSearchParams({ channel, source, typed })}`),
  async upload(file: Blob, name: string): Promise<BlobRef> {
    const headers = { 'content-type': 'application/octet-stream', 'x-file-name': encodeURIComponent(name) };
    return answer(await fetchOrSay('/api/uploads', { method: 'POST', body: file, headers }));
  },
};

export function blobUrl({ hash }: BlobRef): string {
  return `/blobs/${hash}`;
}

/** What a picture is called when it is downloaded; i counts from 0. */
export function fileName({ hash, type }: BlobRef, i: number): string {
  return `sketchbooth-${hash.slice(0, 8)}-${i + 1}.${type.split('/')[1] ?? 'png'}`;
}
