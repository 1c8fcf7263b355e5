import { type APIMessage, ComponentType, Routes } from 'discord.js';
import type { ReplyTo } from '../../shared/jobs.ts';
import type { MessageRef } from '../platform.ts';
import { request } from './api-errors.ts';
import type { Bridge } from './bridge.ts';
import { keyText } from './message.ts';
import { channelIdOf } from './people.ts';

const PAGE = 100;
/** How far back a message is looked for. Discord remembers a nonce for minutes only; a busy channel says more than a page in them. */
const PAGES = 5;

/** Our own message with the key, among the newest of a channel. */
export async function findPosted(bridge: Bridge, to: ReplyTo, key: string): Promise<MessageRef | undefined> {
  const { channelId, threadId } = to.place;
  let before: string | undefined;
  for (let page = 0; page < PAGES; page++) {
    const messages = await readPage(bridge, channelIdOf(to.place), before);
    const found = messages.find((message) => message.author.id === bridge.client.user?.id && hasKey(message, key));
    if (found !== undefined) return { platform: 'discord', channelId, messageId: found.id, threadId };
    if (messages.length < PAGE) return undefined;
    before = messages.at(-1)!.id;
  }
  return undefined;
}

async function readPage({ client }: Bridge, channelId: string, before: string | undefined): Promise<APIMessage[]> {
  const query = new URLSearchParams({ limit: String(PAGE), ...(before !== undefined && { before }) });
  return request('look for a message', async () => {
    return (await client.rest.get(Routes.channelMessages(channelId), { query })) as APIMessage[];
  });
}

function hasKey({ components = [] }: APIMessage, key: string): boolean {
  return components.some((part) => part.type === ComponentType.TextDisplay && part.content === keyText(key));
}
