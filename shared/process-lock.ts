import { mkdir, unlink } from 'node:fs/promises';
import { createConnection, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { UserError } from './errors.ts';

/** A folder that this process alone uses; released at the latest by its death. */
export interface ProcessLock {
  release(): Promise<void>;
}

/** Unix sockets have paths of at most 107 bytes. */
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * Takes a folder for this process: PGlite takes no lock of its own, and two processes would destroy its files.
 * @throws UserError if another process holds it
 */
export async function lockFolder(folder: string): Promise<ProcessLock> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, 'lock.sock');
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw new UserError(
      `Cannot use DATA_DIR ${folder}: its path must have at most ${MAX_SOCKET_PATH_BYTES - 10} bytes, got ${Buffer.byteLength(folder)}`,
    );
  }
  const server = (await listen(path)) ?? (await takeOver(path, folder));
  return { release: () => new Promise((resolve) => server.close(() => resolve())) };
}

/** @returns undefined if the path is taken */
function listen(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.end());
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen(path, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** A socket that refuses belongs to a process that was killed. */
async function takeOver(path: string, folder: string): Promise<Server> {
  if (!(await isAnswering(path))) {
    await unlink(path).catch(() => undefined);
    const server = await listen(path);
    if (server) return server;
  }
  throw new UserError(
    `Cannot use DATA_DIR ${folder}: one process at a time may use it, got a second one; stop the other, or set REDIS_URL and DATABASE_URL to run several`,
  );
}

function isAnswering(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
