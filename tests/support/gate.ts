/** A door before a server on this machine: while it is shut, no connection through it stands. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface Gate {
  /** The server's own address, but through the gate. */
  readonly url: string;
  open(): void;
  shut(): void;
  /** How many connections came while it was shut. */
  refusals(): number;
  close(): void;
}

/**
 * @param url  of the server
 * @returns a gate that is shut
 */
export async function startGate(url: string): Promise<Gate> {
  const target = new URL(url);
  let isOpen = false;
  let refusals = 0;
  const standing = new Set<Socket>();
  const server = createServer((inside) => {
    inside.on('error', () => undefined);
    if (!isOpen) {
      refusals++;
      inside.resetAndDestroy();
      return;
    }
    standing.add(inside.on('close', () => standing.delete(inside)));
    const outside = connect(Number(target.port), target.hostname).on('error', () => inside.destroy());
    inside.pipe(outside).pipe(inside);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const through = new URL(url);
  through.port = String((server.address() as AddressInfo).port);
  return {
    url: through.href,
    open: () => {
      isOpen = true;
    },
    shut: () => {
      isOpen = false;
      for (const socket of standing) socket.destroy();
    },
    refusals: () => refusals,
    close: () => server.close(),
  };
}
