/** A door before a server on this machine: while it is shut, no connection through it stands. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface Gate {
  readonly port: number;
  open(): void;
  shut(): void;
  /** How many connections came while it was shut. */
  refusals(): number;
  close(): void;
}

/** @returns a gate that is shut */
export async function startGate(target: URL): Promise<Gate> {
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
  return {
    port: (server.address() as AddressInfo).port,
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
