import type { WireMessage, WirePerson, WireState } from '../../bot/web/wire.ts';

/** One person's browser, without a screen: it keeps its cookie and says where its requests come from. */
export class PageVisitor {
  readonly #address: string;
  #cookie = '';

  constructor(address: string) {
    this.#address = address;
  }

  async send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
    const own = { origin: this.#address, cookie: this.#cookie, 'content-type': 'application/json' };
    const init: RequestInit = { method, headers: { ...own, ...headers } };
    if (body !== undefined) init.body = body instanceof Uint8Array ? Buffer.from(body) : JSON.stringify(body);
    const response = await fetch(`${this.#address}${path}`, init);
    const [cookie] = response.headers.getSetCookie();
    if (cookie !== undefined) this.#cookie = cookie.split(';', 1)[0] ?? '';
    return response;
  }

  async get<T>(path: string): Promise<T> {
    return (await (await this.send('GET', path)).json()) as T;
  }

  async messages(channel = 'studio'): Promise<readonly WireMessage[]> {
    const path = `/api/channels/${encodeURIComponent(channel)}/messages`;
    return (await this.get<{ messages: WireMessage[] }>(path)).messages;
  }

  async person(): Promise<WirePerson> {
    const state = await this.get<WireState>('/api/state');
    if (state.needs !== 'nothing') throw new Error(`Not in: the page needs a ${state.needs}`);
    return state.person;
  }

  /** Reads the stream of changes; returns once it has begun. */
  async listen(since?: number): Promise<{ next(): Promise<WireMessage>; close(): void }> {
    const abort = new AbortController();
    const path = `/api/events${since === undefined ? '' : `?since=${since}`}`;
    const init = { headers: { cookie: this.#cookie }, signal: abort.signal };
    const response = await fetch(`${this.#address}${path}`, init);
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    if (!reader) throw new Error('The stream of changes has no body');
    let text = '';
    const next = async (): Promise<WireMessage> => {
      const match = /(?:^|\n)data: (\{.*\})\n/.exec(text);
      if (!match) {
        const { value, done } = await reader.read();
        if (done) throw new Error('The stream of changes has ended');
        text += value;
        return next();
      }
      text = text.slice(match.index + match[0].length);
      const message = JSON.parse(match[1] ?? '') as WireMessage;
      // Some that the page knows already come once more.
      return since !== undefined && message.revision <= since ? next() : message;
    };
    text += (await reader.read()).value ?? '';
    return { next, close: () => abort.abort() };
  }
}

/** A visitor who has said who they are. */
export async function enterPage(
  address: string,
  { name, password = '' }: { name: string; password?: string },
): Promise<PageVisitor> {
  const visitor = new PageVisitor(address);
  await visitor.send('POST', '/api/session', { password });
  const answer = await visitor.send('POST', '/api/me', { name });
  if (!answer.ok) throw new Error(`${name} cannot enter: ${await answer.text()}`);
  return visitor;
}
