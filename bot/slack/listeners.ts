/** What people do in Slack: every delivery is acknowledged before anything else is done. */
import type { App } from '@slack/bolt';
import type { Command, OptionValue } from '../../commands/command.ts';
import { meaningOfSlackName } from '../../commands/signs.ts';
import { decodeButton } from '../button-value.ts';
import type { PendingWork } from '../pending-work.ts';
import type { Press } from '../platform.ts';
import { sayPrivately } from '../wording.ts';
import { type Asked, answer, showForm, tell } from './answer.ts';
import { type Bridge, UPLOAD_LIMIT_BYTES } from './bridge.ts';
import { slackCommandName } from './command-names.ts';
import { keepFiles, type SharedFile } from './files.ts';
import { choice, FORM_CALLBACK, formOf, readForm, type SentView, type SubmittedForm } from './forms.ts';
import { BUTTON_PREFIX } from './message.ts';
import { actorOf, factsOf, placeOf } from './people.ts';
import { readTypedText } from './typed-text.ts';

/** Message shortcuts: which command takes the pictures of a message. */
export const SHORTCUTS: Readonly<Record<string, string>> = { use_as_control: 'sketch', teach_from_these: 'teach' };

export function listen(app: App, bridge: Bridge, track: PendingWork['track']): void {
  for (const command of bridge.commands) {
    app.command(slackCommandName(command.name), async ({ ack, body }) => {
      await ack();
      track('answer a command', slashCommand(bridge, command, body));
    });
  }
  app.view(FORM_CALLBACK, async ({ ack, body, view }) => {
    await ack();
    track('take a form', submit(bridge, { ...body, view: view as SentView & { id: string } }));
  });
  app.action(new RegExp(`^${BUTTON_PREFIX}`), async ({ ack, body, action }) => {
    await ack();
    track('answer a button', button(bridge, body as PressedBody, action as { value?: string; action_ts?: string }));
  });
  app.shortcut({ type: 'message_action' }, async ({ ack, shortcut }) => {
    await ack();
    track('answer a shortcut', messageShortcut(bridge, shortcut as MessageShortcut));
  });
  app.options('value', async ({ ack, body, payload }) => {
    await ack({
      options: await suggestions(
        bridge,
        body as unknown as SuggestionBody,
        payload as { block_id: string; value: string },
      ),
    });
  });
  app.event('reaction_added', async ({ event, body }) => {
    track('answer a reaction', reaction(bridge, event as ReactionEvent, body as EventBody));
  });
  app.event('app_mention', async ({ event, body }) => {
    track('answer a mention', mention(bridge, event as SaidEvent, body as EventBody));
  });
  app.event('message', async ({ event, body }) => {
    const said = event as SaidEvent;
    if (isSaidToBot(said)) track('answer a message', mention(bridge, said, body as EventBody));
  });
}

interface SlashBody {
  readonly text: string;
  readonly trigger_id: string;
  readonly user_id: string;
  readonly user_name: string;
  readonly team_id: string;
  readonly channel_id: string;
}

/** Slash commands carry text only: what needs a picture, or is given nothing that it needs, asks in a form. */
async function slashCommand(bridge: Bridge, command: Command, body: SlashBody): Promise<void> {
  const options = readTypedText(command, body.text);
  const asked: Asked = {
    id: body.trigger_id,
    actor: actorOf(body.user_id, body.user_name),
    place: placeOf(body.team_id, body.channel_id),
    triggerId: body.trigger_id,
  };
  const isMissing = command.options.some(({ isRequired, name, type }) => {
    return isRequired && (type === 'image' || options[name] === undefined);
  });
  if (isMissing) return showForm(bridge, asked, formOf(command, options, asked.place));
  await invoke(bridge, asked, { command: command.name, options });
}

interface AskedFor extends Partial<Pick<SubmittedForm, 'images' | 'files' | 'parentJobId'>> {
  readonly command: string;
  readonly options: Readonly<Record<string, OptionValue>>;
}

function invoke(
  bridge: Bridge,
  asked: Asked,
  { command, options, images, files = {}, parentJobId }: AskedFor,
): Promise<void> {
  return answer(bridge, asked, async () => {
    const kept = await keepAll(bridge, files);
    const { isAdministrator } = await factsOf(bridge, asked.actor.userId);
    const merged = { ...images };
    for (const [name, blobs] of Object.entries(kept)) merged[name] = [...(merged[name] ?? []), ...blobs];
    return bridge.inbox.invoke({
      id: asked.id,
      command,
      options,
      images: merged,
      actor: asked.actor,
      isAdministrator,
      place: asked.place,
      uploadLimitBytes: UPLOAD_LIMIT_BYTES,
      ...(parentJobId !== undefined && { parentJobId }),
    });
  });
}

async function keepAll(bridge: Bridge, files: SubmittedForm['files']) {
  const entries = Object.entries(files).filter(([, ids]) => ids.length > 0);
  return Object.fromEntries(
    await Promise.all(
      entries.map(
        async ([name, ids]) =>
          [
            name,
            await keepFiles(
              bridge,
              ids.map((id) => ({ id })),
            ),
          ] as const,
      ),
    ),
  );
}

interface SubmittedBody {
  readonly user: { readonly id: string; readonly name?: string };
  readonly view: SentView & { readonly id: string };
}

async function submit(bridge: Bridge, { user, view }: SubmittedBody): Promise<void> {
  const form = readForm(view);
  const asked: Asked = { id: `view-${view.id}`, actor: actorOf(user.id, user.name ?? user.id), place: form.place };
  await invoke(bridge, asked, form);
}

interface PressedBody {
  readonly trigger_id: string;
  readonly team: { readonly id: string } | null;
  readonly user: { readonly id: string; readonly name?: string };
  readonly channel?: { readonly id: string };
  readonly message?: { readonly ts: string; readonly thread_ts?: string };
}

async function button(
  bridge: Bridge,
  body: PressedBody,
  { value, action_ts }: { value?: string; action_ts?: string },
): Promise<void> {
  const meaning = decodeButton(value ?? '');
  const channelId = body.channel?.id;
  if (meaning === undefined || channelId === undefined) return;
  const { thread_ts } = body.message ?? {};
  const asked: Asked = {
    id: `press-${body.message?.ts ?? channelId}-${body.user.id}-${action_ts ?? body.trigger_id}`,
    actor: actorOf(body.user.id, body.user.name ?? body.user.id),
    place: placeOf(body.team?.id, channelId, thread_ts),
    triggerId: body.trigger_id,
  };
  const { action, argument, jobId } = meaning;
  await press(bridge, asked, { action, argument, target: { jobId } });
}

function press(bridge: Bridge, asked: Asked, pressed: Pick<Press, 'action' | 'argument' | 'target'>): Promise<void> {
  return answer(bridge, asked, async () => {
    const { actor, place, id } = asked;
    // The form must open within 3 seconds, and nobody moderates it.
    const isModerator = pressed.action !== 'edit' && (await factsOf(bridge, actor.userId)).isAdministrator;
    return bridge.inbox.press({ id, ...pressed, actor, isModerator, place, uploadLimitBytes: UPLOAD_LIMIT_BYTES });
  });
}

interface EventBody {
  readonly event_id: string;
  readonly team_id: string;
}

interface ReactionEvent {
  readonly user: string;
  readonly reaction: string;
  readonly item_user?: string;
  readonly item: { readonly type: string; readonly channel?: string; readonly ts?: string };
}

async function reaction(bridge: Bridge, event: ReactionEvent, { event_id, team_id }: EventBody): Promise<void> {
  const meaning = meaningOfSlackName(event.reaction);
  const { channel, ts } = event.item;
  const isOurs = event.user !== bridge.botUserId && (event.item_user ?? bridge.botUserId) === bridge.botUserId;
  if (meaning === undefined || channel === undefined || ts === undefined || !isOurs) return;
  const { displayName } = await factsOf(bridge, event.user);
  const asked: Asked = { id: event_id, actor: actorOf(event.user, displayName), place: placeOf(team_id, channel) };
  const target = { message: { platform: 'slack' as const, channelId: channel, messageId: ts } };
  await press(bridge, asked, { ...meaning, argument: meaning.argument, target });
}

interface SaidEvent {
  readonly user?: string;
  readonly bot_id?: string;
  readonly subtype?: string;
  readonly channel_type?: string;
  readonly text?: string;
  readonly channel: string;
  readonly ts: string;
  readonly thread_ts?: string;
  readonly files?: readonly (SharedFile & { readonly mimetype?: string })[];
}

/** In a conversation with the bot alone everything is said to it; mentions come as events of their own elsewhere. */
function isSaidToBot({ channel_type, subtype, bot_id }: SaidEvent): boolean {
  return channel_type === 'im' && bot_id === undefined && (subtype === undefined || subtype === 'file_share');
}

/** "@Sketchbooth teach rex --class dog" with photos, or just a prompt: with pictures it is a sketch. Goes on in its thread. */
async function mention(bridge: Bridge, event: SaidEvent, { event_id, team_id }: EventBody): Promise<void> {
  const { user, channel, ts, thread_ts, files = [] } = event;
  if (user === undefined || event.bot_id !== undefined) return;
  const text = (event.text ?? '').replaceAll(`<@${bridge.botUserId}>`, ' ').trim();
  const pictures = files.filter(({ mimetype }) => mimetype?.startsWith('image/') ?? true).map(({ id }) => id);
  const { command, words } = commandIn(bridge, text, pictures.length > 0);
  const { displayName } = await factsOf(bridge, user);
  const threadId = channel.startsWith('D') ? thread_ts : (thread_ts ?? ts);
  const asked: Asked = { id: event_id, actor: actorOf(user, displayName), place: placeOf(team_id, channel, threadId) };
  const given = { command: command.name, options: readTypedText(command, words), files: spread(command, pictures) };
  await invoke(bridge, asked, given);
}

function commandIn({ commands }: Bridge, text: string, hasPictures: boolean): { command: Command; words: string } {
  const [, word = '', words = ''] = /^\/?(?:booth-)?([a-z]+)\b:?\s*([\s\S]*)$/iu.exec(text) ?? [];
  const named = commands.find(({ name }) => name === word.toLowerCase());
  if (named !== undefined) return { command: named, words };
  const usual = text === '' && !hasPictures ? 'help' : hasPictures ? 'sketch' : 'imagine';
  return { command: commands.find(({ name }) => name === usual)!, words: text };
}

/** Gives files to the options that take images, in order. */
function spread(command: Command, files: readonly string[]): Record<string, readonly string[]> {
  const waiting = [...files];
  const given: Record<string, readonly string[]> = {};
  for (const option of command.options) {
    if (option.type !== 'image' || waiting.length === 0) continue;
    given[option.name] = waiting.splice(0, option.maxCount ?? 1);
  }
  return given;
}

interface MessageShortcut {
  readonly callback_id: string;
  readonly trigger_id: string;
  readonly team: { readonly id: string } | null;
  readonly user: { readonly id: string; readonly name?: string };
  readonly channel: { readonly id: string };
  readonly message: { readonly ts?: string; readonly thread_ts?: string; readonly files?: readonly SharedFile[] };
}

/** Takes the pictures of a message into a form; they are copied when it is sent, since it must open within 3 seconds. */
async function messageShortcut(bridge: Bridge, shortcut: MessageShortcut): Promise<void> {
  const command = bridge.commands.find(({ name }) => name === SHORTCUTS[shortcut.callback_id]);
  const { user, channel, message, team, trigger_id } = shortcut;
  if (command === undefined) return;
  const asked: Asked = {
    id: trigger_id,
    actor: actorOf(user.id, user.name ?? user.id),
    place: placeOf(team?.id, channel.id, message.thread_ts),
    triggerId: trigger_id,
  };
  const files = (message.files ?? []).map(({ id }) => id);
  if (files.length === 0) {
    const text = 'Cannot use this message: it must have pictures attached, got none';
    return tell(bridge, asked, sayPrivately(text));
  }
  await showForm(bridge, asked, formOf(command, {}, asked.place, spread(command, files)));
}

interface SuggestionBody {
  readonly user: { readonly id: string; readonly name?: string };
  readonly view?: { readonly private_metadata: string };
}

async function suggestions(
  bridge: Bridge,
  { user, view }: SuggestionBody,
  { block_id, value }: { block_id: string; value: string },
) {
  if (view === undefined) return [];
  const { command, place } = JSON.parse(view.private_metadata) as SubmittedForm;
  const option = bridge.commands.find(({ name }) => name === command)?.options.find(({ name }) => name === block_id);
  if (option?.type !== 'text' || option.completes === undefined) return [];
  const who = { actor: actorOf(user.id, user.name ?? user.id), place };
  return (await bridge.inbox.complete(option.completes, value, who)).map(choice);
}
