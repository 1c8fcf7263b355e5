import { sql } from 'kysely';
import { z } from 'zod';
import type { Database } from '../shared/database.ts';
import type { WorkerOffer } from '../shared/queue.ts';

/** What the workers that are alive can do. */
export interface Workers {
  /** Those that were heard of within the last minute. */
  alive(): readonly WorkerOffer[];
  /** Takes note of what a worker says of itself. */
  hear(offer: WorkerOffer): Promise<void>;
}

const SILENCE_MS = 60_000;

export const workerOfferSchema = z.object({
  name: z.string(),
  device: z.string(),
  models: z.array(z.object({ name: z.string(), width: z.int(), height: z.int() })),
  controls: z.array(z.object({ model: z.string(), kind: z.string(), method: z.string() })),
  loaded: z.array(z.string()),
});

/** Remembers the workers that other processes, or this one before a restart, have heard of. */
export async function openWorkers(database: Database): Promise<Workers> {
  const heard = new Map<string, { offer: WorkerOffer; at: number }>();
  for (const { name, offer, seen_at } of await database.selectFrom('workers').selectAll().execute()) {
    const parsed = workerOfferSchema.safeParse(offer);
    if (parsed.success) heard.set(name, { offer: parsed.data, at: seen_at.getTime() });
  }
  return {
    alive: () => [...heard.values()].filter(({ at }) => Date.now() - at < SILENCE_MS).map(({ offer }) => offer),
    hear: async (offer) => {
      heard.set(offer.name, { offer, at: Date.now() });
      const row = { offer: JSON.stringify(offer), seen_at: sql<Date>`now()` };
      await database
        .insertInto('workers')
        .values({ name: offer.name, ...row })
        .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
        .execute();
    },
  };
}
