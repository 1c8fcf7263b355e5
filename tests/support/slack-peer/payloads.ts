/** What people do in a workspace, as Slack tells an app of it. */
import type { OpenView, PeerMessage, PeerUser, World } from './world.ts';

export interface Delivery {
  readonly type: 'slash_commands' | 'interactive' | 'events_api';
  readonly payload: object;
}

const APP_ID = 'A0APP';

/** Something that a person said, with pictures if given. */
export interface Saying {
  readonly text: string;
  readonly user: PeerUser;
  readonly files: readonly Uint8Array[];
  readonly threadTs: string | undefined;
  readonly channel: string;
}

/** Values of a form by block: texts, choices, switches, or files. */
export type FormValues = Readonly<Record<string, string | boolean | readonly Uint8Array[]>>;

export function slashCommand(
  world: World,
  { command, text, user, channel }: { command: string; text: string; user: PeerUser; channel: string },
): Delivery {
  const payload = {
    command,
    text,
    trigger_id: world.newTrigger(user),
    user_id: user.id,
    user_name: user.name,
    team_id: world.teamId,
    channel_id: channel,
    api_app_id: APP_ID,
    token: 'legacy',
  };
  return { type: 'slash_commands', payload };
}

/** @param label  part of what the button says */
export function buttonPress(world: World, message: PeerMessage, { label, user }: { label: string; user: PeerUser }) {
  const buttons = message.blocks.flatMap((block) => (block.type === 'actions' ? block.elements : []));
  const action = buttons.find((button) => button.text.text.includes(label));
  if (!action) throw new Error(`No button ${label} among ${buttons.map((one) => one.text.text).join(', ')}`);
  return interaction(world, user, {
    type: 'block_actions',
    channel: { id: message.channel },
    message: { ts: message.ts, ...(message.threadTs !== undefined && { thread_ts: message.threadTs }) },
    container: { type: 'message', message_ts: message.ts, channel_id: message.channel },
    actions: [{ ...action, block_id: 'b', action_ts: world.newTs() }],
  });
}

export function messageShortcut(
  world: World,
  { callbackId, files, user }: { callbackId: string; files: readonly Uint8Array[]; user: PeerUser },
): Delivery {
  return interaction(world, user, {
    type: 'message_action',
    callback_id: callbackId,
    channel: { id: 'C0STUDIO' },
    message: { ts: world.newTs(), files: files.map((bytes) => ({ id: world.addFile(bytes, user) })) },
  });
}

/** A form as it is sent: what was filled in before stays where no value is given. */
export function formSubmission(world: World, { id, user, view }: OpenView, values: FormValues): Delivery {
  const owner = world.users().find((one) => one.id === user)!;
  const inputs = view.blocks.map(({ block_id, element }) => {
    const chosen = 'initial_option' in element ? element.initial_option?.value : undefined;
    const initial = 'initial_value' in element ? element.initial_value : chosen;
    const value = values[block_id] ?? initial;
    const option = typeof value === 'string' ? { value, text: { type: 'plain_text', text: value } } : null;
    const sent = {
      plain_text_input: { value: value ?? null },
      number_input: { value: value ?? null },
      static_select: { selected_option: option },
      external_select: { selected_option: option },
      checkboxes: { selected_options: value === true ? [{ value: 'yes' }] : [] },
      file_input: { files: Array.isArray(value) ? value.map((bytes) => ({ id: world.addFile(bytes, owner) })) : [] },
    }[element.type];
    return [block_id, { [element.action_id]: { type: element.type, ...sent } }];
  });
  return interaction(world, owner, {
    type: 'view_submission',
    view: { ...view, id, state: { values: Object.fromEntries(inputs) } },
  });
}

/** Typing into a list of a form. */
export function suggestionRequest(world: World, { user, view }: OpenView, field: { blockId: string; typed: string }) {
  const owner = world.users().find((one) => one.id === user)!;
  const { blockId, typed } = field;
  return interaction(world, owner, {
    type: 'block_suggestion',
    action_id: 'value',
    block_id: blockId,
    value: typed,
    view,
  });
}

export function event(world: World, what: object): Delivery {
  const payload = {
    type: 'event_callback',
    team_id: world.teamId,
    api_app_id: APP_ID,
    event_id: world.newId('Ev'),
    event: what,
  };
  return { type: 'events_api', payload };
}

export function reaction(world: World, message: PeerMessage, { emoji, user }: { emoji: string; user: PeerUser }) {
  return event(world, {
    type: 'reaction_added',
    user: user.id,
    reaction: emoji,
    item: { type: 'message', channel: message.channel, ts: message.ts },
    item_user: message.user,
    event_ts: world.newTs(),
  });
}

/** Something said to the bot: a mention in a channel, a plain message in a conversation with it alone. */
export function said(world: World, { text, user, files, threadTs, channel }: Saying): Delivery {
  const isDirect = channel.startsWith('D');
  return event(world, {
    type: isDirect ? 'message' : 'app_mention',
    ...(isDirect && { channel_type: 'im', ...(files.length > 0 && { subtype: 'file_share' }) }),
    user: user.id,
    text: isDirect ? text : `<@${world.bot.id}> ${text}`,
    channel,
    ts: world.newTs(),
    ...(threadTs !== undefined && { thread_ts: threadTs }),
    files: files.map((bytes) => ({ id: world.addFile(bytes, user), mimetype: 'image/png' })),
  });
}

function interaction(world: World, user: PeerUser, what: object): Delivery {
  const payload = {
    ...what,
    trigger_id: world.newTrigger(user),
    team: { id: world.teamId },
    user: { id: user.id, name: user.name },
    api_app_id: APP_ID,
  };
  return { type: 'interactive', payload };
}
