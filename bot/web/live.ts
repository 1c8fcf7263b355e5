/** Pages that are open, and what is told to them. */
import type { LoggedMessage } from './message-log.ts';
import type { WireMessage } from './wire.ts';

interface Listener {
  readonly personId: string;
  readonly tell: (message: WireMessage) => void;
}

/** Tells every open page what changed, each only what its reader may see. */
export class LivePages {
  readonly #listeners = new Set<Listener>();

  /** @returns a function that ends it */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  publish({ message, privateTo }: LoggedMessage): void {
    for (const { personId, tell } of this.#listeners) {
      if (privateTo === undefined || privateTo === personId) tell(message);
    }
  }
}
