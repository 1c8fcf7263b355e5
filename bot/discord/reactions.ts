/** Reactions under results. They come as the gateway sends them, so that messages of any age count. */
import type { GatewayMessageReactionAddDispatchData } from 'discord.js';
import { PermissionFlagsBits } from 'discord.js';
import { type Meaning, meaningOfEmoji } from '../../commands/signs.ts';
import { UserError } from '../../shared/errors.ts';
import { sayFailure } from '../failure.ts';
import { type Acknowledgement, PermanentPostError, type Press, type Reply } from '../platform.ts';
import { request } from './api-errors.ts';
import { type Bridge, messageOf, postMessage } from './bridge.ts';
import { sendDirect } from './direct.ts';
import { USUAL_UPLOAD_LIMIT_BYTES } from './message.ts';
import { channelIdOf, placeInChannel } from './people.ts';

type Reaction = GatewayMessageReactionAddDispatchData;

export async function onReaction(bridge: Bridge, reaction: Reaction): Promise<void> {
  // An emoji of a server that was deleted has no name.
  const meaning = meaningOfEmoji(reaction.emoji.name ?? '');
  if (meaning === undefined || !isByPersonOnOurs(bridge, reaction)) return;
  const press = await pressOf(bridge, reaction, meaning);
  const outcome = await bridge.inbox.press(press).catch((error: unknown) => {
    return sayFailure(bridge.log, press.id, error);
  });
  await say(bridge, { press, reaction, outcome });
}

function isByPersonOnOurs({ client }: Bridge, { user_id, member, message_author_id }: Reaction): boolean {
  const isBot = user_id === client.user?.id || (member?.user.bot ?? false);
  return !isBot && (message_author_id === undefined || message_author_id === client.user?.id);
}

async function pressOf(bridge: Bridge, reaction: Reaction, { action, argument }: Meaning): Promise<Press> {
  const { channel_id, message_id, user_id, guild_id } = reaction;
  const place = placeInChannel(bridge.client, channel_id, guild_id);
  const { channelId, threadId } = place;
  const message = { platform: 'discord' as const, channelId, messageId: message_id, threadId };
  return {
    // Reactions have no number; one that is taken back and given again is another wish.
    id: `${message_id}-${user_id}-${action}${argument ?? ''}-${Date.now()}`,
    action,
    target: { message },
    argument,
    actor: { platform: 'discord', userId: user_id, displayName: nameOf(bridge, reaction) },
    isModerator: action === 'delete' && (await isModerator(bridge, reaction)),
    place,
    uploadLimitBytes: USUAL_UPLOAD_LIMIT_BYTES,
  };
}

function nameOf({ client }: Bridge, { user_id, member }: Reaction): string {
  const user = client.users.cache.get(user_id);
  return member?.nick ?? member?.user.global_name ?? member?.user.username ?? user?.displayName ?? user_id;
}

/** Reactions do not tell what a member may do, so the member is asked for. */
async function isModerator({ client }: Bridge, { guild_id, channel_id, user_id }: Reaction): Promise<boolean> {
  const guild = client.guilds.cache.get(guild_id ?? '');
  const channel = guild?.channels.cache.get(channel_id);
  if (guild === undefined || channel === undefined) return false;
  const member = await guild.members.fetch(user_id);
  return channel.permissionsFor(member).has(PermissionFlagsBits.ManageMessages);
}

async function say(
  bridge: Bridge,
  { press, reaction, outcome }: { press: Press; reaction: Reaction; outcome: Acknowledgement },
): Promise<void> {
  if (outcome.kind === 'silence') return;
  if (outcome.kind === 'form')
    return tell(bridge, press, 'A reaction cannot open a form: press the button **Edit** under the picture');
  if (outcome.reply.isPrivate) return tellReply(bridge, press, outcome.reply);
  const reply: Reply = { ...outcome.reply, mentions: [press.actor] };
  const message = await messageOf(bridge, reply, { isMentioning: true });
  const body = { ...message.body, message_reference: { message_id: reaction.message_id, fail_if_not_exists: false } };
  const posted = await request('answer a reaction', () =>
    postMessage(bridge, channelIdOf(press.place), { body, files: message.files }),
  );
  if (outcome.jobId === undefined) return;
  const { channelId, threadId } = press.place;
  await bridge.inbox.acknowledged(outcome.jobId, { platform: 'discord', channelId, threadId, messageId: posted.id });
}

async function tell(bridge: Bridge, press: Press, text: string): Promise<void> {
  await tellReply(bridge, press, { text, pictures: [], buttons: [], isPrivate: true, mentions: [] });
}

/** A reaction cannot be answered privately where it was given, so the person is written to. */
async function tellReply(bridge: Bridge, { actor }: Press, reply: Reply): Promise<void> {
  try {
    await sendDirect(bridge, actor, reply);
  } catch (error) {
    // Whoever takes no direct messages is not told why a reaction did nothing.
    if (!(error instanceof PermanentPostError || error instanceof UserError)) throw error;
    bridge.log.info({ err: error, userId: actor.userId }, 'Cannot write to a person');
  }
}
