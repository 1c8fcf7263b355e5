/** A door before a server on this machine: while it is closed, each connection through it is cut. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';

export interface Gate {
  readonly port: number;
  open(): void;
  /** Cuts what comes from now on; connections that stand are left alone. */
  shut(): void;
  /** How many connections were cut. */
  cuts(): number;
  close(): void;
}

/** @returns a gate that is shut */
export async function startGate(target: URL): Promise<Gate> {
  let isOpen = false;
  let cuts = 0;
  const server = createServer((inside) => {
    inside.on('error', () => undefined);
    if (!isOpen) {
      cuts++;
      inside.resetAndDestroy();
      return;
    }
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
    },
    cuts: () => cuts,
    close: () => server.close(),
  };
}
