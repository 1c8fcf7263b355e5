/** PGlite dressed as a pool of node-postgres: Kysely and BullMQ both run on it as they are. */
import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { PGlite } from '@electric-sql/pglite';
import { runMigrations } from 'bullmq';
import { lockFolder } from './process-lock.ts';

export interface QueryResult {
  rows: never[];
  rowCount: number;
  command: 'UPDATE' | 'SELECT';
}

/** What BullMQ and Kysely call of a pg.Pool. */
export class EmbeddedPostgres extends EventEmitter {
  /** PGlite has one session; a transaction keeps everyone else waiting. */
  #session: Promise<unknown> = Promise.resolve();
  readonly #db: PGlite;
  readonly #releaseLock: () => Promise<void>;
  /** BullMQ shortens its waits where connections could die unnoticed; this one cannot. */
  readonly options = { keepAlive: true };

  private constructor(db: PGlite, releaseLock: () => Promise<void>) {
    super();
    this.setMaxListeners(0);
    this.#db = db;
    this.#releaseLock = releaseLock;
  }

  /**
   * Opens the database of a data folder, made if need be, with BullMQ's tables in it.
   * It is safe against the death of the process, not against that of the machine: PGlite never syncs its files.
   * @throws UserError if another process has it open
   */
  static async open(dataDir: string): Promise<EmbeddedPostgres> {
    const lock = await lockFolder(dataDir);
    const db = await PGlite.create(join(dataDir, 'pg'));
    const pool = new EmbeddedPostgres(db, () => lock.release());
    const client = await pool.connect();
    await runMigrations(client, 'bullmq');
    client.release();
    // Names without a schema mean our tables first and BullMQ's then; no name is in both.
    await pool.query('SET search_path TO sketchbooth, bullmq, public');
    return pool;
  }

  async query(text: string, parameters?: readonly unknown[]): Promise<QueryResult> {
    return this.#exclusively(() => this.#run(text, parameters));
  }

  async connect(): Promise<EmbeddedClient> {
    return new EmbeddedClient({
      query: (text, parameters) => this.#run(text, parameters),
      exclusively: (run) => this.#exclusively(run),
      listen: (channel, onPayload) => this.#db.listen(channel, onPayload),
    });
  }

  async end(): Promise<void> {
    await this.#session;
    if (!this.#db.closed) await this.#db.close();
    await this.#releaseLock();
  }

  async #run(text: string, parameters?: readonly unknown[]): Promise<QueryResult> {
    // PGlite answers within microtasks: without this pause a loop of queries starves timers and sockets.
    await setImmediate();
    const result =
      parameters === undefined || parameters.length === 0
        ? (await this.#db.exec(text)).at(-1)
        : await this.#db.query(text, [...parameters]);
    const isChange = ['INSERT', 'UPDATE', 'DELETE'].includes(firstWords(text).command);
    return {
      rows: (result?.rows ?? []) as never[],
      rowCount: isChange ? (result?.affectedRows ?? 0) : (result?.rows.length ?? 0),
      command: isChange ? 'UPDATE' : 'SELECT',
    };
  }

  #exclusively<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#session.then(run);
    this.#session = result.catch(() => undefined);
    return result;
  }
}

interface Session {
  readonly query: (text: string, parameters?: readonly unknown[]) => Promise<QueryResult>;
  readonly exclusively: <T>(run: () => Promise<T>) => Promise<T>;
  readonly listen: (channel: string, onPayload: (payload: string) => void) => Promise<() => Promise<void>>;
}

/** What is called of a pg.PoolClient. From BEGIN to COMMIT or ROLLBACK it has the session to itself. */
class EmbeddedClient extends EventEmitter {
  readonly #session: Session;
  #endTransaction: (() => void) | undefined;
  readonly #unlisten = new Map<string, () => Promise<void>>();

  constructor(session: Session) {
    super();
    this.setMaxListeners(0);
    this.#session = session;
  }

  async query(text: string, parameters?: readonly unknown[]): Promise<QueryResult> {
    const { command, object } = firstWords(text);
    if (command === 'LISTEN') return this.#listen(object);
    if (command === 'UNLISTEN') return this.#stopListening(object);
    if (command === 'BEGIN' || (command === 'START' && object === 'transaction')) await this.#beginTransaction();
    if (!this.#endTransaction) return this.#session.exclusively(() => this.#session.query(text, parameters));
    try {
      return await this.#session.query(text, parameters);
    } finally {
      if (command === 'COMMIT' || (command === 'ROLLBACK' && object !== 'to')) this.#finish();
    }
  }

  release(): void {
    for (const unlisten of this.#unlisten.values()) void unlisten();
    this.#unlisten.clear();
    if (this.#endTransaction) {
      void this.#session.query('ROLLBACK').finally(() => this.#finish());
    }
  }

  #beginTransaction(): Promise<void> {
    return new Promise((begin, fail) => {
      const transaction = () =>
        new Promise<void>((end) => {
          this.#endTransaction = end;
          begin();
        });
      this.#session.exclusively(transaction).catch(fail);
    });
  }

  #finish(): void {
    this.#endTransaction?.();
    this.#endTransaction = undefined;
  }

  async #listen(channel: string): Promise<QueryResult> {
    if (!this.#unlisten.has(channel)) {
      const forward = (payload: string) => this.emit('notification', { channel, payload });
      this.#unlisten.set(channel, await this.#session.exclusively(() => this.#session.listen(channel, forward)));
    }
    return { rows: [], rowCount: 0, command: 'SELECT' };
  }

  async #stopListening(channel: string): Promise<QueryResult> {
    await this.#unlisten.get(channel)?.();
    this.#unlisten.delete(channel);
    return { rows: [], rowCount: 0, command: 'SELECT' };
  }
}

/** BullMQ's statements begin with comments. */
function firstWords(text: string): { command: string; object: string } {
  const [, command = '', object = ''] = /^(?:\s|--[^\n]*\n)*(\w+)\s*"?(\w*)/.exec(text) ?? [];
  return { command: command.toUpperCase(), object: object.toLowerCase() };
}
