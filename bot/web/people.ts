/** Who is in front of the page: sessions by cookie, names, and the password where one is demanded. */
import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import type { Generated, Kysely } from 'kysely';
import type { Database, Tables } from '../../shared/database.ts';
import { UserError } from '../../shared/errors.ts';
import type { WirePerson } from './wire.ts';

type PeopleTables = {
  web_people: { id: string; name: string; name_key: string; is_administrator: boolean; created_at: Generated<Date> };
  web_sessions: { token_hash: string; person_id: string | null; expires_at: Date };
};

export const SESSION_DAYS = 90;
const DAY_MS = 24 * 60 * 60 * 1000;

export interface Session {
  readonly tokenHash: string;
  /** Undefined until they have said who they are. */
  readonly person: WirePerson | undefined;
}

/** Keeps who has signed in. Tokens are stored as hashes: reading the tables does not let anyone in. */
export class People {
  readonly #db: Kysely<Tables & PeopleTables>;
  readonly #passwordHash: Buffer | undefined;
  readonly #attempts = new AttemptLimit();

  /** @param password  undefined lets everyone in, which is for pages that only this machine reaches */
  constructor(database: Database, password: string | undefined) {
    this.#db = database.withTables<PeopleTables>();
    this.#passwordHash = password === undefined ? undefined : sha256(password);
  }

  async forgetExpired(): Promise<void> {
    await this.#db.deleteFrom('web_sessions').where('expires_at', '<', new Date()).execute();
  }

  get hasPassword(): boolean {
    return this.#passwordHash !== undefined;
  }

  async session(token: string | undefined): Promise<Session | undefined> {
    if (token === undefined) return undefined;
    const tokenHash = hashOf(token);
    const row = await this.#db
      .selectFrom('web_sessions')
      .leftJoin('web_people', 'web_people.id', 'web_sessions.person_id')
      .select(['web_people.id', 'web_people.name', 'web_people.is_administrator'])
      .where('token_hash', '=', tokenHash)
      .where('expires_at', '>', new Date())
      .executeTakeFirst();
    if (!row) return undefined;
    const { id, name, is_administrator } = row;
    const isNamed = id !== null && name !== null;
    return { tokenHash, person: isNamed ? { id, name, isAdministrator: is_administrator ?? false } : undefined };
  }

  /**
   * Opens a session and returns its token for the cookie.
   * @param address  of the other end; too many wrong passwords shut it out for a while
   * @throws UserError on a wrong password
   */
  async signIn(password: string, address: string): Promise<string> {
    if (this.#passwordHash !== undefined) {
      const network = networkOf(address);
      this.#attempts.check(network);
      if (!timingSafeEqual(sha256(password), this.#passwordHash)) {
        this.#attempts.count(network);
        throw new UserError('Cannot sign in: the password must be that of this Sketchbooth, got another');
      }
      this.#attempts.forget(network);
    }
    return this.#openSession();
  }

  async signOut({ tokenHash }: Session): Promise<void> {
    await this.#db.deleteFrom('web_sessions').where('token_hash', '=', tokenHash).execute();
  }

  /**
   * Says who the session is. On a page without password, which only this machine reaches, a name that is known goes on
   * as that person; elsewhere a name belongs to whoever came first.
   * @throws UserError where the name cannot be had
   */
  async name(session: Session, text: string): Promise<WirePerson> {
    const name = text.trim().replace(/\s+/g, ' ');
    if (!/^[\p{L}\p{N}][\p{L}\p{N} ._'-]{0,31}$/u.test(name)) {
      throw new UserError(
        `Cannot call you that: a name must be 1 to 32 letters, digits or spaces, got "${name.slice(0, 40)}"`,
      );
    }
    const person = await this.#personCalled(name, session);
    const update = this.#db.updateTable('web_sessions').set({ person_id: person.id });
    await update.where('token_hash', '=', session.tokenHash).execute();
    return person;
  }

  async #personCalled(name: string, session: Session): Promise<WirePerson> {
    const nameKey = name.normalize('NFKC').toLowerCase();
    const known = await this.#db
      .selectFrom('web_people')
      .selectAll()
      .where('name_key', '=', nameKey)
      .executeTakeFirst();
    if (known && (!this.hasPassword || known.id === session.person?.id)) {
      return { id: known.id, name: known.name, isAdministrator: known.is_administrator };
    }
    if (known) throw new UserError(`Cannot call you ${name}: someone here has that name already`);
    const isFirst = (await this.#db.selectFrom('web_people').select('id').limit(1).executeTakeFirst()) === undefined;
    const person = { id: randomUUID(), name, isAdministrator: isFirst || !this.hasPassword };
    const row = { id: person.id, name, name_key: nameKey, is_administrator: person.isAdministrator };
    await this.#db.insertInto('web_people').values(row).execute();
    return person;
  }

  async #openSession(): Promise<string> {
    const token = randomBytes(32).toString('base64url');
    const row = {
      token_hash: hashOf(token),
      person_id: null,
      expires_at: new Date(Date.now() + SESSION_DAYS * DAY_MS),
    };
    await this.#db.insertInto('web_sessions').values(row).execute();
    return token;
  }
}

const WINDOW_MS = 10 * 60 * 1000;
const MAX_ATTEMPTS = 8;

/** Counts wrong passwords by address. */
class AttemptLimit {
  readonly #failures = new Map<string, { count: number; until: number }>();

  /** @throws UserError while the address is shut out */
  check(address: string): void {
    const failure = this.#failures.get(address);
    if (failure === undefined || failure.count < MAX_ATTEMPTS) return;
    const minutes = Math.ceil((failure.until - Date.now()) / 60_000);
    if (minutes <= 0) this.forget(address);
    else throw new UserError(`Cannot sign in: too many wrong passwords, try again in ${minutes} min`);
  }

  count(address: string): void {
    if (this.#failures.size > 10_000) this.#failures.clear();
    const old = this.#failures.get(address);
    const isRecent = old !== undefined && old.until > Date.now();
    this.#failures.set(address, { count: isRecent ? old.count + 1 : 1, until: Date.now() + WINDOW_MS });
  }

  forget(address: string): void {
    this.#failures.delete(address);
  }
}

/** One machine has as many IPv6 addresses as it likes within its network of 64 bits. */
function networkOf(address: string): string {
  return address.includes('.') ? address : address.split(':').slice(0, 4).join(':');
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function hashOf(token: string): string {
  return sha256(token).toString('hex');
}
