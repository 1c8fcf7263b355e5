/** Methods of the Web API that the bot uses, with the checks that Slack's servers make. */
import { z } from 'zod';
import { messageBlocks, modalView } from './block-rules.ts';
import type { PeerFile, PeerMessage, World } from './world.ts';

/** An answer with `ok: false`. */
export class ApiError extends Error {
  readonly code: string;
  constructor(code: string, detail = '') {
    super(`${code} ${detail}`.trim());
    this.code = code;
  }
}

export interface MethodContext {
  readonly world: World;
  readonly origin: string;
  /** Between the answer to an upload and the file being shared. */
  readonly shareDelayMs: number;
  /** Whether blocks take pictures at all; Slack refuses now and then. */
  readonly takesPictures: boolean;
}

type Method = (args: Record<string, unknown>, context: MethodContext) => object;

const text = z.string().min(1);
const flag = z.union([z.boolean(), z.enum(['true', 'false'])]);
const metadata = z.strictObject({
  event_type: z.string().regex(/^[a-z0-9_]+$/),
  event_payload: z.record(z.string(), z.unknown()),
});
const messageArgs = {
  channel: text,
  text: z.string().max(40_000),
  blocks: messageBlocks.optional(),
  thread_ts: z.string().optional(),
  metadata: metadata.optional(),
};

/** Scopes that an app must have been granted. */
export const METHOD_SCOPES: Readonly<Record<string, string>> = {
  'chat.postMessage': 'chat:write',
  'chat.postEphemeral': 'chat:write',
  'chat.update': 'chat:write',
  'chat.delete': 'chat:write',
  'files.getUploadURLExternal': 'files:write',
  'files.completeUploadExternal': 'files:write',
  'files.delete': 'files:write',
  'files.info': 'files:read',
  'conversations.history': 'channels:history',
  'conversations.replies': 'channels:history',
  'conversations.open': 'im:write',
  'users.info': 'users:read',
};

function parse<T>(schema: z.ZodType<T>, args: Record<string, unknown>): T {
  const parsed = schema.safeParse(args);
  if (parsed.success) return parsed.data;
  const isBlocks = parsed.error.issues.some(({ path }) => path[0] === 'blocks');
  throw new ApiError(isBlocks ? 'invalid_blocks' : 'invalid_arguments', z.prettifyError(parsed.error));
}

function checkMember({ channels, bot }: World, channel: string): void {
  const members = channels.get(channel);
  if (members === undefined) throw new ApiError('channel_not_found');
  if (!members.has(bot.id)) throw new ApiError('not_in_channel');
}

function checkPictures(
  { world, takesPictures }: MethodContext,
  blocks: z.infer<typeof messageBlocks>,
  channel: string,
): void {
  for (const block of blocks) {
    const image = block.type === 'section' ? block.accessory : block;
    if (image.type !== 'image') continue;
    const file = world.files.get(image.slack_file.id);
    if (!takesPictures || !file?.shares.has(channel)) throw new ApiError('invalid_blocks', 'slack_file is not ready');
  }
}

function ownMessage({ world }: MethodContext, channel: string, ts: string): PeerMessage {
  const message = world.message(channel, ts);
  if (message === undefined) throw new ApiError('message_not_found');
  if (message.user !== world.bot.id) throw new ApiError('cant_update_message');
  return message;
}

function shown(message: PeerMessage) {
  return {
    type: 'message',
    user: message.user,
    ts: message.ts,
    text: message.text,
    ...(message.threadTs !== undefined && { thread_ts: message.threadTs }),
    ...(message.metadata !== undefined && { metadata: message.metadata }),
    files: message.files.map((id) => ({ id, name: id })),
  };
}

export const methods: Readonly<Record<string, Method>> = {
  'auth.test': (_, { world }) => ({
    user_id: world.bot.id,
    bot_id: 'B0BOT',
    team_id: world.teamId,
    team: 'Booth',
    user: 'sketchbooth',
  }),
  'users.info': (args, { world }) => {
    const { user } = parse(z.object({ user: text }), args);
    const found = world.users().find(({ id }) => id === user);
    if (!found) throw new ApiError('user_not_found');
    return { user: { id: found.id, name: found.name, is_admin: found.isAdmin, profile: { display_name: found.name } } };
  },
  'chat.postMessage': (args, context) => {
    const { world } = context;
    const schema = z.object({ ...messageArgs, unfurl_links: flag.optional(), unfurl_media: flag.optional() });
    const { channel, thread_ts, blocks = [], ...rest } = parse(schema, args);
    checkMember(world, channel);
    checkPictures(context, blocks, channel);
    const message: PeerMessage = {
      channel,
      ts: world.newTs(),
      user: world.bot.id,
      threadTs: thread_ts,
      text: rest.text,
      blocks,
      metadata: rest.metadata,
      files: [],
      shown: [{ text: rest.text, blocks }],
      isDeleted: false,
    };
    world.messages.push(message);
    return { channel, ts: message.ts, message: shown(message) };
  },
  'chat.postEphemeral': (args, context) => {
    const { world } = context;
    const { channel, user, text: words, blocks = [] } = parse(z.object({ ...messageArgs, user: text }), args);
    checkMember(world, channel);
    if (!world.channels.get(channel)!.has(user)) throw new ApiError('user_not_in_channel');
    world.ephemerals.push({ channel, user, text: words, blocks });
    return { message_ts: world.newTs() };
  },
  'chat.update': (args, context) => {
    const {
      channel,
      ts,
      text: words,
      blocks = [],
      metadata: data,
    } = parse(z.object({ ...messageArgs, ts: text }), args);
    const message = ownMessage(context, channel, ts);
    checkPictures(context, blocks, channel);
    Object.assign(message, { text: words, blocks, ...(data !== undefined && { metadata: data }) });
    message.shown.push({ text: words, blocks });
    return { channel, ts, text: words };
  },
  'chat.delete': (args, context) => {
    const { channel, ts } = parse(z.object({ channel: text, ts: text }), args);
    ownMessage(context, channel, ts).isDeleted = true;
    return { channel, ts };
  },
  'conversations.open': (args, { world }) => {
    const { users } = parse(z.object({ users: text }), args);
    if (!world.users().some(({ id }) => id === users)) throw new ApiError('user_not_found');
    return { channel: { id: world.directChannel(users) } };
  },
  'conversations.history': (args, { world }) => {
    const { channel } = parse(z.object({ channel: text, include_all_metadata: flag.optional() }), args);
    checkMember(world, channel);
    const messages = world.messages.filter((one) => one.channel === channel && !one.threadTs && !one.isDeleted);
    return { messages: messages.reverse().map((one) => withFileNames(world, shown(one))), has_more: false };
  },
  'conversations.replies': (args, { world }) => {
    const { channel, ts } = parse(z.object({ channel: text, ts: text }), args);
    checkMember(world, channel);
    const messages = world.messages.filter(
      (one) => one.channel === channel && !one.isDeleted && (one.ts === ts || one.threadTs === ts),
    );
    if (messages.length === 0) throw new ApiError('thread_not_found');
    return { messages: messages.map((one) => withFileNames(world, shown(one))), has_more: false };
  },
  'files.getUploadURLExternal': (args, { world, origin }) => {
    const schema = z.strictObject({
      filename: text,
      length: z.coerce.number().int().positive(),
      alt_txt: z.string().max(1000).optional(),
    });
    const { filename, length, alt_txt } = parse(schema, args);
    const id = world.newId('F');
    const file: PeerFile = {
      id,
      name: filename,
      altText: alt_txt,
      owner: world.bot.id,
      bytes: new Uint8Array(),
      length,
      shares: new Set(),
      isDeleted: false,
    };
    world.files.set(id, file);
    return { file_id: id, upload_url: `${origin}/upload/${id}` };
  },
  'files.completeUploadExternal': (args, { world, shareDelayMs }) => {
    const schema = z.object({
      files: z.array(z.strictObject({ id: text, title: z.string().optional() })).min(1),
      channel_id: text.optional(),
      thread_ts: z.string().optional(),
    });
    const { files, channel_id, thread_ts } = parse(schema, args);
    const whole = files.map(({ id }) => world.files.get(id));
    if (!whole.every((file) => file !== undefined && file.bytes.byteLength === file.length)) {
      throw new ApiError('file_upload_incomplete');
    }
    if (channel_id !== undefined) {
      checkMember(world, channel_id);
      // Slack answers first and shares later.
      setTimeout(
        () => share(world, { files: files.map(({ id }) => id), channel: channel_id, threadTs: thread_ts }),
        shareDelayMs,
      );
    }
    return { files: files.map(({ id, title }) => ({ id, title })) };
  },
  'files.info': (args, { world, origin }) => {
    const { file: id } = parse(z.object({ file: text }), args);
    const file = world.files.get(id);
    if (!file || file.isDeleted) throw new ApiError('file_not_found');
    const shares = Object.fromEntries([...file.shares].map((channel) => [channel, [{ ts: '1.1' }]]));
    const url = `${origin}/files-pri/${id}/${encodeURIComponent(file.name)}`;
    return {
      file: {
        id,
        name: file.name,
        size: file.bytes.byteLength,
        url_private: url,
        url_private_download: url,
        shares: { public: shares },
      },
    };
  },
  'files.delete': (args, { world }) => {
    const { file: id } = parse(z.object({ file: text }), args);
    const file = world.files.get(id);
    if (!file) throw new ApiError('file_not_found');
    if (file.owner !== world.bot.id) throw new ApiError('cant_delete_file');
    file.isDeleted = true;
    return {};
  },
  'views.open': (args, { world }) => {
    const { trigger_id, view } = parse(z.object({ trigger_id: text, view: modalView }), args);
    const trigger = world.triggers.get(trigger_id);
    if (!trigger) throw new ApiError('invalid_trigger_id');
    if (Date.now() > trigger.expiresAt) throw new ApiError('expired_trigger_id');
    world.triggers.delete(trigger_id);
    const id = world.newId('V');
    world.views.push({ id, user: trigger.user, view });
    return { view: { id } };
  },
};

function withFileNames(world: World, message: ReturnType<typeof shown>) {
  return { ...message, files: message.files.map(({ id }) => ({ id, name: world.files.get(id)?.name })) };
}

function share(
  world: World,
  { files, channel, threadTs }: { files: string[]; channel: string; threadTs: string | undefined },
): void {
  for (const id of files) world.files.get(id)!.shares.add(channel);
  const message = {
    channel,
    ts: world.newTs(),
    user: world.bot.id,
    threadTs,
    text: '',
    blocks: [],
    metadata: undefined,
  };
  world.messages.push({ ...message, files, shown: [], isDeleted: false });
}
