/** The local page's channels and messages in the tables, so that they are there after a restart. */
import { type Generated, type Insertable, type Kysely, type Selectable, sql } from 'kysely';
import type { Database, Tables } from '../../shared/database.ts';
import type { Actor } from '../../shared/jobs.ts';
import type { Reply } from '../platform.ts';
import type { LossPoint, Said, WireChannel, WireMessage, WireReaction } from './wire.ts';

type WebTables = {
  web_channels: { id: string; name: string; created_at: Generated<Date> };
  web_messages: {
    id: Generated<string>;
    revision: Generated<string>;
    channel_id: string;
    /** What makes a second post of the same thing impossible. */
    post_key: string | null;
    author_id: string | null;
    author_name: string | null;
    content: string;
    private_to: string | null;
    is_removed: Generated<boolean>;
    created_at: Generated<Date>;
  };
  web_reactions: { message_id: string; person_id: string; person_name: string; emoji: string };
};

/** The `content` column. */
interface Content {
  readonly said?: Said;
  readonly reply?: Reply;
  readonly losses?: readonly LossPoint[];
}

export interface NewMessage {
  readonly channelId: string;
  readonly key?: string;
  /** Undefined is the bot. */
  readonly author?: Actor;
  readonly content: Content;
  readonly privateTo?: string | undefined;
}

/** A message and who may read it; undefined is everyone. */
export interface LoggedMessage {
  readonly message: WireMessage;
  readonly privateTo: string | undefined;
}

/** Reads and writes what was said on the local page. */
export class MessageLog {
  readonly #db: Kysely<Tables & WebTables>;

  constructor(database: Database) {
    this.#db = database.withTables<WebTables>();
  }

  async channels(): Promise<readonly WireChannel[]> {
    return this.#db.selectFrom('web_channels').select(['id', 'name']).orderBy('created_at').execute();
  }

  async hasChannel(id: string): Promise<boolean> {
    return (
      (await this.#db.selectFrom('web_channels').select('id').where('id', '=', id).executeTakeFirst()) !== undefined
    );
  }

  /** Returns false where the channel exists. */
  async addChannel(id: string, name: string): Promise<boolean> {
    const insert = this.#db.insertInto('web_channels').values({ id, name });
    const row = await insert
      .onConflict((conflict) => conflict.doNothing())
      .returning('id')
      .executeTakeFirst();
    return row !== undefined;
  }

  /** Adds a message; where its key is there already, returns the message that has it. */
  async add({ channelId, key, author, content, privateTo }: NewMessage): Promise<LoggedMessage> {
    const row: Insertable<WebTables['web_messages']> = {
      channel_id: channelId,
      post_key: key ?? null,
      author_id: author?.userId ?? null,
      author_name: author?.displayName ?? null,
      content: JSON.stringify(content),
      private_to: privateTo ?? null,
    };
    const insert = this.#db.insertInto('web_messages').values(row);
    const added = await insert
      .onConflict((conflict) => conflict.column('post_key').doNothing())
      .returningAll()
      .executeTakeFirst();
    const message = added ? logged(added, []) : key === undefined ? undefined : await this.byKey(key);
    if (!message) throw new Error('Cannot add a message: its key was taken and then gone');
    return message;
  }

  async byKey(key: string): Promise<LoggedMessage | undefined> {
    const row = await this.#db.selectFrom('web_messages').selectAll().where('post_key', '=', key).executeTakeFirst();
    return row && (await this.#withReactions([row]))[0];
  }

  async byId(id: string): Promise<LoggedMessage | undefined> {
    if (!/^\d{1,18}$/.test(id)) return undefined;
    const row = await this.#db.selectFrom('web_messages').selectAll().where('id', '=', id).executeTakeFirst();
    return row && (await this.#withReactions([row]))[0];
  }

  /** Writes the bot's message anew; undefined where it was removed meanwhile. */
  async edit(id: string, reply: Reply): Promise<LoggedMessage | undefined> {
    const old = await this.byId(id);
    const losses = withLoss(old?.message.losses ?? [], reply);
    return this.#change(id, { reply, ...(losses.length > 0 ? { losses } : {}) });
  }

  /** Removes what the message said; its row stays, so that its key is never used again. */
  async remove(id: string): Promise<LoggedMessage | undefined> {
    return this.#change(id, {}, true);
  }

  /** Adds a reaction, or takes it back where the person had it. Returns undefined where there is no such message. */
  async toggleReaction(
    id: string,
    emoji: string,
    person: Actor,
  ): Promise<{ logged: LoggedMessage; isAdded: boolean } | undefined> {
    if ((await this.byId(id)) === undefined) return undefined;
    const row = { message_id: id, person_id: person.userId, person_name: person.displayName, emoji };
    const insert = this.#db.insertInto('web_reactions').values(row);
    const added = await insert
      .onConflict((conflict) => conflict.doNothing())
      .returning('emoji')
      .executeTakeFirst();
    if (!added) {
      const own = this.#db.deleteFrom('web_reactions').where('message_id', '=', id).where('emoji', '=', emoji);
      await own.where('person_id', '=', person.userId).execute();
    }
    await this.#db.updateTable('web_messages').set({ revision: NEXT_REVISION }).where('id', '=', id).execute();
    const after = await this.byId(id);
    return after && { logged: after, isAdded: added !== undefined };
  }

  /** A channel's newest messages for one reader, oldest first; `before` pages back. */
  async history(
    channelId: string,
    reader: string,
    { before, limit }: { before?: number; limit: number },
  ): Promise<WireMessage[]> {
    let query = this.#visibleTo(reader).where('channel_id', '=', channelId).where('is_removed', '=', false);
    if (before !== undefined) query = query.where('id', '<', String(before));
    const rows = await query.orderBy('id', 'desc').limit(limit).execute();
    return (await this.#withReactions(rows.reverse())).map(({ message }) => message);
  }

  /** Everything that changed after a revision, removals included, for one reader. */
  async changesAfter(revision: number, reader: string): Promise<WireMessage[]> {
    const rows = await this.#visibleTo(reader)
      .where('revision', '>', String(revision))
      .orderBy('revision')
      .limit(500)
      .execute();
    return (await this.#withReactions(rows)).map(({ message }) => message);
  }

  async newestRevision(): Promise<number> {
    const row = await this.#db
      .selectFrom('web_messages')
      .select((eb) => eb.fn.max('revision').as('newest'))
      .executeTakeFirst();
    return Number(row?.newest ?? 0);
  }

  #visibleTo(reader: string) {
    return this.#db
      .selectFrom('web_messages')
      .selectAll()
      .where((eb) => eb.or([eb('private_to', 'is', null), eb('private_to', '=', reader)]));
  }

  async #change(id: string, content: Content, isRemoved = false): Promise<LoggedMessage | undefined> {
    const row = await this.#db
      .updateTable('web_messages')
      .set({ content: JSON.stringify(content), is_removed: isRemoved, revision: NEXT_REVISION })
      .where('id', '=', id)
      .where('is_removed', '=', false)
      .returningAll()
      .executeTakeFirst();
    return row && (await this.#withReactions([row]))[0];
  }

  async #withReactions(rows: readonly Selectable<WebTables['web_messages']>[]): Promise<LoggedMessage[]> {
    if (rows.length === 0) return [];
    const ids = rows.map((row) => row.id);
    const reactions = await this.#db.selectFrom('web_reactions').selectAll().where('message_id', 'in', ids).execute();
    return rows.map((row) => {
      const own = reactions.filter((reaction) => String(reaction.message_id) === String(row.id));
      return logged(row, own);
    });
  }
}

const NEXT_REVISION = sql<string>`nextval('web_revision')`;

function logged(
  row: Selectable<WebTables['web_messages']>,
  reactions: readonly Selectable<WebTables['web_reactions']>[],
): LoggedMessage {
  // A jsonb column comes back parsed.
  const content = row.content as unknown as Content;
  const author =
    row.author_id === null ? {} : { author: { id: row.author_id, name: row.author_name ?? row.author_id } };
  return {
    privateTo: row.private_to ?? undefined,
    message: {
      id: Number(row.id),
      revision: Number(row.revision),
      channelId: row.channel_id,
      ...author,
      at: new Date(row.created_at).toISOString(),
      ...content,
      isPrivate: row.private_to !== null,
      isRemoved: row.is_removed,
      reactions: byEmoji(reactions),
    },
  };
}

function byEmoji(reactions: readonly Selectable<WebTables['web_reactions']>[]): readonly WireReaction[] {
  const emojis = [...new Set(reactions.map(({ emoji }) => emoji))].sort();
  return emojis.map((emoji) => ({
    emoji,
    people: reactions.filter((r) => r.emoji === emoji).map((r) => ({ id: r.person_id, name: r.person_name })),
  }));
}

function withLoss(losses: readonly LossPoint[], { lesson }: Reply): readonly LossPoint[] {
  if (lesson?.loss === undefined) return losses;
  return [...losses.filter(([step]) => step < lesson.step), [lesson.step, lesson.loss]];
}
