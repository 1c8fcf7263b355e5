/** The channels of the local page: what people say and press there reaches the bot, and what it answers is written down. */
import type { CompletionSource } from '../../commands/command.ts';
import { meaningOfEmoji } from '../../commands/signs.ts';
import { UserError } from '../../shared/errors.ts';
import type { Actor, BlobRef, Place } from '../../shared/jobs.ts';
import type { Acknowledgement, BotInbox, MessageRef, Press } from '../platform.ts';
import type { LivePages } from './live.ts';
import type { LoggedMessage, MessageLog } from './message-log.ts';
import type { WireAcknowledgement, WireChannel, WireInvocation, WireMessage, WirePerson } from './wire.ts';

const PAGE_OF_MESSAGES = 40;
const UPLOAD_LIMIT_BYTES = 100 * 2 ** 20;
/** A pulse keeps proxies from closing a quiet connection. */
const PULSE_MS = 20_000;
/** Revisions are given before they are committed: some below the newest may still come. */
const REVISION_OVERLAP = 50;
const MAX_WAITING = 2000;
const SERVER_ID = 'local';
const DIRECT = 'dm:';

interface Parts {
  readonly log: MessageLog;
  readonly live: LivePages;
  readonly inbox: BotInbox;
}

export class Conversation {
  readonly #log: MessageLog;
  readonly #live: LivePages;
  readonly #inbox: BotInbox;

  constructor({ log, live, inbox }: Parts) {
    this.#log = log;
    this.#live = live;
    this.#inbox = inbox;
  }

  /** All channels, and the one in which the bot and this person are alone. */
  async channels(person: WirePerson): Promise<readonly WireChannel[]> {
    return [...(await this.#log.channels()), { id: directChannel(person.id), name: 'just you' }];
  }

  /** @throws UserError where the name is taken or cannot be one */
  async addChannel(text: string): Promise<WireChannel> {
    const name = text.trim().toLowerCase().replace(/^#/, '').replace(/\s+/g, '-');
    if (!/^[\p{L}\p{N}][\p{L}\p{N}_-]{0,31}$/u.test(name)) {
      throw new UserError(
        `Cannot add the channel: its name must be 1 to 32 letters, digits or hyphens, got "${name.slice(0, 40)}"`,
      );
    }
    const channel = { id: name, name };
    if (!(await this.#log.addChannel(channel.id, name)))
      throw new UserError(`Cannot add the channel: ${name} exists already`);
    return channel;
  }

  async history(
    person: WirePerson,
    channelId: string,
    before: number | undefined,
  ): Promise<{ messages: WireMessage[]; revision: number; hasMore: boolean }> {
    await this.#enter(person, channelId);
    const revision = await this.#log.newestRevision();
    const paging = before === undefined ? {} : { before };
    const messages = await this.#log.history(channelId, person.id, { ...paging, limit: PAGE_OF_MESSAGES + 1 });
    return { messages: messages.slice(-PAGE_OF_MESSAGES), revision, hasMore: messages.length > PAGE_OF_MESSAGES };
  }

  /** What changes from now on, in order of its arrival; before that, what changed since a revision. Ends when the page closes. */
  async *changes(
    person: WirePerson,
    since: number | undefined,
    page: { onAbort(run: () => void): void },
  ): AsyncGenerator<WireMessage | 'pulse'> {
    const waiting: (WireMessage | 'pulse')[] = [];
    let wake = () => {};
    let isOpen = true;
    const tell = (message: WireMessage | 'pulse') => {
      waiting.push(message);
      wake();
    };
    const stop = this.#live.listen({ personId: person.id, tell });
    const pulse = setInterval(() => tell('pulse'), PULSE_MS);
    page.onAbort(() => {
      isOpen = false;
      wake();
    });
    try {
      yield 'pulse';
      if (since !== undefined) yield* await this.#log.changesAfter(Math.max(0, since - REVISION_OVERLAP), person.id);
      // A page that reads too slowly comes back and asks for what it missed.
      while (isOpen && waiting.length < MAX_WAITING) {
        const next = waiting.shift();
        if (next !== undefined) yield next;
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    } finally {
      clearInterval(pulse);
      stop();
    }
  }

  async say(person: WirePerson, channelId: string, { id, text }: { id: string; text: string }): Promise<void> {
    await this.#enter(person, channelId);
    await this.#write(person, channelId, { key: `said:${person.id}:${id}`, said: { text }, isPrivate: false });
  }

  /** @throws UserError where a rule of the command is broken; then nothing is written */
  async invoke(person: WirePerson, channelId: string, asked: WireInvocation): Promise<WireAcknowledgement> {
    const place = await this.#enter(person, channelId);
    const { id, ...invocation } = asked;
    const key = `${person.id}:${id}`;
    const acknowledgement = await this.#inbox.invoke({
      ...invocation,
      id: `web:${key}`,
      actor: actorOf(person),
      isAdministrator: person.isAdministrator,
      place,
      uploadLimitBytes: UPLOAD_LIMIT_BYTES,
    });
    throwRefusal(acknowledgement);
    const isPrivate = acknowledgement.kind === 'message' && acknowledgement.reply.isPrivate;
    const said = { text: '', command: asked.command, options: asked.options, images: asked.images };
    if (acknowledgement.kind === 'message')
      await this.#write(person, channelId, { key: `said:${key}`, said, isPrivate });
    return this.#acknowledge(person, channelId, { key, acknowledgement });
  }

  async press(
    person: WirePerson,
    channelId: string,
    press: Pick<Press, 'id' | 'action' | 'argument'> & { jobId: string },
  ): Promise<WireAcknowledgement> {
    const place = await this.#enter(person, channelId);
    const { id, action, argument, jobId } = press;
    return this.#press(person, place, { id, action, argument, target: { jobId } });
  }

  /** Adds or takes back a reaction; an added one that means an action is also pressed. */
  async react(
    person: WirePerson,
    messageId: string,
    { id, emoji }: { id: string; emoji: string },
  ): Promise<WireAcknowledgement> {
    const message = await this.#log.byId(messageId);
    if (!message || (message.privateTo !== undefined && message.privateTo !== person.id)) {
      throw new UserError('Cannot react: the message is not there any more');
    }
    const place = await this.#enter(person, message.message.channelId);
    const toggled = await this.#log.toggleReaction(messageId, emoji, actorOf(person));
    if (!toggled) return { kind: 'silence' };
    this.#live.publish(toggled.logged);
    const meant = meaningOfEmoji(emoji);
    if (!toggled.isAdded || !meant || message.message.author) return { kind: 'silence' };
    const target = { message: { platform: 'web', channelId: place.channelId, messageId } as const };
    return this.#press(person, place, { id, ...meant, target });
  }

  async complete(
    person: WirePerson,
    channelId: string,
    { source, typed }: { source: CompletionSource; typed: string },
  ): Promise<readonly string[]> {
    const place = await this.#enter(person, channelId);
    return this.#inbox.complete(source, typed, { actor: actorOf(person), place });
  }

  keepUpload(bytes: Uint8Array, name: string): Promise<BlobRef> {
    return this.#inbox.keepUpload(bytes, name);
  }

  /** A stored picture; undefined where nothing has this hash or it is no picture: weights never leave by this way. */
  async picture(hash: string): Promise<{ bytes: Uint8Array<ArrayBuffer>; type: string } | undefined> {
    const bytes = await this.#inbox.readBlob({ hash, type: 'image/png', sizeBytes: 0 }).catch(() => undefined);
    const type = bytes === undefined ? undefined : pictureType(bytes);
    return bytes && type ? { bytes: new Uint8Array(bytes), type } : undefined;
  }

  async #press(
    person: WirePerson,
    place: Place,
    press: Pick<Press, 'id' | 'action' | 'argument' | 'target'>,
  ): Promise<WireAcknowledgement> {
    const key = `${person.id}:${press.id}`;
    const acknowledgement = await this.#inbox.press({
      ...press,
      id: `web:${key}`,
      actor: actorOf(person),
      isModerator: person.isAdministrator,
      place,
      uploadLimitBytes: UPLOAD_LIMIT_BYTES,
    });
    throwRefusal(acknowledgement);
    return this.#acknowledge(person, place.channelId, { key, acknowledgement });
  }

  async #acknowledge(
    person: WirePerson,
    channelId: string,
    { key, acknowledgement }: { key: string; acknowledgement: Acknowledgement },
  ): Promise<WireAcknowledgement> {
    if (acknowledgement.kind !== 'message') return acknowledgement;
    const { reply, jobId } = acknowledgement;
    const privateTo = readerOf(person, channelId, reply.isPrivate);
    const logged = await this.#log.add({ channelId, key: `ack:${key}`, content: { reply }, privateTo });
    this.#live.publish(logged);
    if (jobId !== undefined) await this.#inbox.acknowledged(jobId, messageRef(logged));
    return { kind: 'message' };
  }

  async #write(
    person: WirePerson,
    channelId: string,
    { key, said, isPrivate }: { key: string; said: NonNullable<WireMessage['said']>; isPrivate: boolean },
  ): Promise<void> {
    const privateTo = readerOf(person, channelId, isPrivate);
    this.#live.publish(await this.#log.add({ channelId, key, author: actorOf(person), content: { said }, privateTo }));
  }

  /** @throws UserError where there is no such channel for this person */
  async #enter(person: WirePerson, channelId: string): Promise<Place> {
    if (channelId === directChannel(person.id)) return { platform: 'web', channelId };
    if (channelId.startsWith(DIRECT) || !(await this.#log.hasChannel(channelId))) {
      throw new UserError(
        `Cannot enter the channel: it must be one of this Sketchbooth, got "${channelId.slice(0, 40)}"`,
      );
    }
    return { platform: 'web', serverId: SERVER_ID, channelId };
  }
}

/** The channel in which the bot and one person are alone. */
export function directChannel(personId: string): string {
  return `${DIRECT}${personId}`;
}

function readerOf(person: WirePerson, channelId: string, isPrivate: boolean): string | undefined {
  return isPrivate || channelId === directChannel(person.id) ? person.id : undefined;
}

export function messageRef({ message }: LoggedMessage): MessageRef {
  return { platform: 'web', channelId: message.channelId, messageId: String(message.id) };
}

/** The page still has what was typed: it shows the reason beside it. */
function throwRefusal(acknowledgement: Acknowledgement): void {
  if (acknowledgement.kind === 'message' && acknowledgement.isRefusal) throw new UserError(acknowledgement.reply.text);
}

function actorOf({ id, name }: WirePerson): Actor {
  return { platform: 'web', userId: id, displayName: name };
}

function pictureType(bytes: Uint8Array): string | undefined {
  const head = Buffer.from(bytes.subarray(0, 12)).toString('latin1');
  if (head.startsWith('\x89PNG\r\n\x1a\n')) return 'image/png';
  if (head.startsWith('\xff\xd8\xff')) return 'image/jpeg';
  return head.startsWith('RIFF') && head.endsWith('WEBP') ? 'image/webp' : undefined;
}
