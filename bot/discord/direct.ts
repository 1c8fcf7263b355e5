import { Routes } from 'discord.js';
import type { Actor } from '../../shared/jobs.ts';
import type { Reply } from '../platform.ts';
import { request } from './api-errors.ts';
import { type Bridge, messageOf, type PostedMessage, postMessage } from './bridge.ts';

/**
 * Writes to a person alone.
 * @throws PermanentPostError if the person takes no direct messages
 */
export async function sendDirect(
  bridge: Pick<Bridge, 'client' | 'inbox'>,
  { userId }: Actor,
  reply: Reply,
): Promise<PostedMessage> {
  const message = await messageOf(bridge, reply);
  return request('write to a person', async () => {
    const channel = (await bridge.client.rest.post(Routes.userChannels(), { body: { recipient_id: userId } })) as {
      id: string;
    };
    return postMessage(bridge, channel.id, message);
  });
}
