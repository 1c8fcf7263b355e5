/** What a workspace holds. */
import { randomUUID } from 'node:crypto';
import type { MessageBlocks, ModalView } from './block-rules.ts';

export interface PeerUser {
  readonly id: string;
  readonly name: string;
  readonly isAdmin: boolean;
}

export interface PeerMessage {
  readonly channel: string;
  readonly ts: string;
  readonly user: string;
  readonly threadTs: string | undefined;
  text: string;
  blocks: MessageBlocks;
  metadata: unknown;
  readonly files: string[];
  /** Everything that it showed, oldest first. */
  readonly shown: { readonly text: string; readonly blocks: MessageBlocks }[];
  isDeleted: boolean;
}

export interface PeerFile {
  readonly id: string;
  readonly name: string;
  readonly altText: string | undefined;
  readonly owner: string;
  bytes: Uint8Array;
  readonly length: number;
  /** Channels that it is shared in, which Slack does a while after it was told to. */
  readonly shares: Set<string>;
  isDeleted: boolean;
}

export interface Ephemeral {
  readonly channel: string;
  readonly user: string;
  readonly text: string;
  readonly blocks: MessageBlocks;
}

export interface OpenView {
  readonly id: string;
  readonly user: string;
  readonly view: ModalView;
}

export interface Trigger {
  readonly user: string;
  readonly expiresAt: number;
}

/** For how long a form may be opened after what a person did. */
const TRIGGER_MS = 3000;

export class World {
  readonly teamId = 'T0BOOTH';
  readonly bot: PeerUser = { id: 'U0BOT', name: 'sketchbooth', isAdmin: false };
  readonly ada: PeerUser = { id: 'U0ADA', name: 'ada', isAdmin: true };
  readonly ben: PeerUser = { id: 'U0BEN', name: 'ben', isAdmin: false };
  /** Members by channel. */
  readonly channels = new Map<string, Set<string>>([
    ['C0STUDIO', new Set(['U0BOT', 'U0ADA', 'U0BEN'])],
    ['C0ELSEWHERE', new Set(['U0ADA'])],
  ]);
  readonly messages: PeerMessage[] = [];
  readonly ephemerals: Ephemeral[] = [];
  readonly files = new Map<string, PeerFile>();
  readonly views: OpenView[] = [];
  readonly triggers = new Map<string, Trigger>();
  #count = 0;

  newId(prefix: string): string {
    this.#count++;
    return `${prefix}${String(this.#count).padStart(8, '0')}`;
  }

  newTs(): string {
    this.#count++;
    return `${Math.floor(Date.now() / 1000)}.${String(this.#count).padStart(6, '0')}`;
  }

  newTrigger({ id }: PeerUser): string {
    const trigger = randomUUID();
    this.triggers.set(trigger, { user: id, expiresAt: Date.now() + TRIGGER_MS });
    return trigger;
  }

  /** A file that a person has. @returns its id */
  addFile(bytes: Uint8Array, owner: PeerUser): string {
    const id = this.newId('F');
    this.files.set(id, {
      id,
      name: 'mine.png',
      altText: undefined,
      owner: owner.id,
      bytes,
      length: bytes.byteLength,
      shares: new Set(),
      isDeleted: false,
    });
    return id;
  }

  users(): PeerUser[] {
    return [this.bot, this.ada, this.ben];
  }

  message(channel: string, ts: string): PeerMessage | undefined {
    return this.messages.find((one) => one.channel === channel && one.ts === ts && !one.isDeleted);
  }

  /** A person's own conversation with the bot. */
  directChannel(user: string): string {
    const id = `D${user.slice(1)}`;
    this.channels.set(id, new Set([this.bot.id, user]));
    return id;
  }
}
