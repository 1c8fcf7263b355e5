import type { AddressInfo } from 'node:net';
import { type ServerType, serve } from '@hono/node-server';
import type { WebConfig } from '../../shared/config.ts';
import type { Database } from '../../shared/database.ts';
import type { Actor, ReplyTo } from '../../shared/jobs.ts';
import type { Log } from '../../shared/log.ts';
import { type BotInbox, type MessageRef, PermanentPostError, type Platform, type Reply } from '../platform.ts';
import { bundlePage } from './bundle.ts';
import { Conversation, directChannel, messageRef } from './conversation.ts';
import { LivePages } from './live.ts';
import { MessageLog } from './message-log.ts';
import { People } from './people.ts';
import { webServer } from './server.ts';

export interface WebPlatformParts {
  readonly config: WebConfig;
  readonly database: Database;
  readonly maxUploadBytes: number;
  readonly log: Log;
}

/** The local page: a channel view in the browser. */
export class WebPlatform implements Platform {
  readonly name = 'web';
  readonly #parts: WebPlatformParts;
  readonly #messages: MessageLog;
  readonly #people: People;
  readonly #live = new LivePages();
  #server: ServerType | undefined;

  constructor(parts: WebPlatformParts) {
    this.#parts = parts;
    this.#messages = new MessageLog(parts.database);
    this.#people = new People(parts.database, parts.config.password);
  }

  /** Where it listens, once it does; asking for port 0 gives a free one. */
  get address(): string {
    const bound = this.#server?.address() as AddressInfo | null | undefined;
    if (!bound) throw new Error('Cannot tell the address: the page is not open');
    const { address, family, port } = bound;
    return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
  }

  async start(inbox: BotInbox): Promise<void> {
    const { config, maxUploadBytes, log } = this.#parts;
    await this.#people.forgetExpired();
    const app = webServer({
      files: await bundlePage(),
      people: this.#people,
      conversation: new Conversation({ log: this.#messages, live: this.#live, inbox }),
      maxUploadBytes,
      isLocalOnly: config.password === undefined,
      onError: (error) => log.error({ err: error }, 'Cannot answer the page'),
    });
    await new Promise<void>((listening, failed) => {
      const server = serve({ fetch: app.fetch, hostname: config.host, port: config.port }, () => listening());
      server.once('error', failed);
      this.#server = server;
    });
    log.info(`The page is open: ${this.address}`);
  }

  async post(to: ReplyTo, reply: Reply, key: string): Promise<MessageRef> {
    const { channelId } = to.place;
    const isThere = channelId === directChannel(to.owner.userId) || (await this.#messages.hasChannel(channelId));
    if (!isThere) throw new PermanentPostError(`Cannot post: the channel must exist, got ${channelId}`);
    const privateTo = reply.isPrivate || channelId === directChannel(to.owner.userId) ? to.owner.userId : undefined;
    return this.#add(channelId, { reply, key: postKey(key), privateTo });
  }

  async findPosted(_to: ReplyTo, key: string): Promise<MessageRef | undefined> {
    const found = await this.#messages.byKey(postKey(key));
    return found && messageRef(found);
  }

  async edit(message: MessageRef, reply: Reply): Promise<void> {
    const edited = await this.#messages.edit(message.messageId, reply);
    if (edited) this.#live.publish(edited);
  }

  async remove(message: MessageRef): Promise<void> {
    const removed = await this.#messages.remove(message.messageId);
    if (removed) this.#live.publish(removed);
  }

  async sendDirect(to: Actor, reply: Reply): Promise<void> {
    await this.#add(directChannel(to.userId), { reply, privateTo: to.userId });
  }

  isReady(): boolean {
    return this.#server?.listening ?? false;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    // Pages keep a connection open for as long as they are.
    if ('closeAllConnections' in server) server.closeAllConnections();
    await closed;
  }

  async #add(
    channelId: string,
    message: { reply: Reply; key?: string; privateTo: string | undefined },
  ): Promise<MessageRef> {
    const { reply, key, privateTo } = message;
    const logged = await this.#messages.add({
      channelId,
      content: { reply },
      privateTo,
      ...(key === undefined ? {} : { key }),
    });
    this.#live.publish(logged);
    return messageRef(logged);
  }
}

function postKey(key: string): string {
  return `post:${key}`;
}
