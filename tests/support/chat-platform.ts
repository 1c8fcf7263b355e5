/** A chat in memory: a whole platform of its own, small enough to look into. */
import { randomUUID } from 'node:crypto';
import {
  type Acknowledgement,
  type BotInbox,
  type MessageRef,
  PermanentPostError,
  type Platform,
  type Press,
  type Reply,
} from '../../bot/platform.ts';
import type { Invocation } from '../../commands/command.ts';
import type { Actor, ReplyTo } from '../../shared/jobs.ts';

export interface ChatMessage {
  readonly ref: MessageRef;
  readonly key: string | undefined;
  /** All that it ever showed, newest last. */
  readonly shown: Reply[];
  isRemoved: boolean;
}

export const ALICE: Actor = { platform: 'web', userId: 'alice', displayName: 'Alice' };
export const BOB: Actor = { platform: 'web', userId: 'bob', displayName: 'Bob' };

export class ChatPlatform implements Platform {
  readonly name = 'web';
  readonly messages: ChatMessage[] = [];
  readonly direct: { to: Actor; reply: Reply }[] = [];
  /** Throws where a test wants a post to fail. */
  onPost: (key: string) => void = () => undefined;
  #inbox: BotInbox | undefined;

  get inbox(): BotInbox {
    if (!this.#inbox) throw new Error('The chat has not been started');
    return this.#inbox;
  }

  async start(inbox: BotInbox): Promise<void> {
    this.#inbox = inbox;
  }

  async post(to: ReplyTo, reply: Reply, key: string): Promise<MessageRef> {
    this.onPost(key);
    if (to.place.channelId === 'gone') throw new PermanentPostError('Cannot post: the channel is gone');
    return this.#add(to.place.channelId, { reply, key });
  }

  async findPosted(_to: ReplyTo, key: string): Promise<MessageRef | undefined> {
    return this.messages.find((message) => message.key === key)?.ref;
  }

  async edit(ref: MessageRef, reply: Reply): Promise<void> {
    this.messages.find((message) => message.ref.messageId === ref.messageId)?.shown.push(reply);
  }

  async remove(ref: MessageRef): Promise<void> {
    const message = this.messages.find((one) => one.ref.messageId === ref.messageId);
    if (message) message.isRemoved = true;
  }

  async sendDirect(to: Actor, reply: Reply): Promise<void> {
    this.direct.push({ to, reply });
  }

  isReady(): boolean {
    return this.#inbox !== undefined;
  }

  async stop(): Promise<void> {
    this.#inbox = undefined;
  }

  /** Types a slash command, and shows what the bot answers as a platform does. */
  async type(
    command: string,
    options: Invocation['options'],
    more: Partial<Invocation> = {},
  ): Promise<Acknowledgement> {
    const invocation: Invocation = {
      id: randomUUID(),
      command,
      options,
      images: {},
      actor: ALICE,
      isAdministrator: false,
      place: { platform: 'web', serverId: 'server', channelId: 'studio' },
      uploadLimitBytes: 10 * 2 ** 20,
      ...more,
    };
    return this.#show(await this.inbox.invoke(invocation), invocation.place.channelId);
  }

  async press(press: Pick<Press, 'action' | 'target'> & Partial<Press>): Promise<Acknowledgement> {
    const pressed: Press = {
      id: randomUUID(),
      actor: ALICE,
      isModerator: false,
      place: { platform: 'web', serverId: 'server', channelId: 'studio' },
      uploadLimitBytes: 10 * 2 ** 20,
      ...press,
    };
    return this.#show(await this.inbox.press(pressed), pressed.place.channelId);
  }

  /** Messages that carry an end. */
  ends(): ChatMessage[] {
    return this.messages.filter(({ key }) => key !== undefined);
  }

  async #show(answer: Acknowledgement, channelId: string): Promise<Acknowledgement> {
    if (answer.kind !== 'message') return answer;
    const ref = this.#add(channelId, { reply: answer.reply, key: undefined });
    if (answer.jobId !== undefined) await this.inbox.acknowledged(answer.jobId, ref);
    return answer;
  }

  #add(channelId: string, { reply, key }: { reply: Reply; key: string | undefined }): MessageRef {
    const ref: MessageRef = { platform: 'web', channelId, messageId: randomUUID() };
    this.messages.push({ ref, key, shown: [reply], isRemoved: false });
    return ref;
  }
}
