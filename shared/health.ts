import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';

export interface HealthOptions {
  readonly host: string;
  readonly port: number;
  /** By name; all of them make the process ready. */
  readonly checks: Readonly<Record<string, () => Promise<unknown>>>;
  readonly registry: Registry;
}

const CHECK_MS = 3000;

/** Serves /livez, /readyz and /metrics; nothing that they say is secret, and they are bound to this machine by default. */
export async function startHealthServer(options: HealthOptions): Promise<Server> {
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    const answer = answers[path];
    if (!answer) return void response.writeHead(404).end();
    answer(options, response).catch(() => response.writeHead(500).end());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  return server;
}

const answers: Readonly<Record<string, (options: HealthOptions, response: ServerResponse) => Promise<void>>> = {
  // That it answers at all is what is asked.
  '/livez': async (_, response) => {
    response.end('ok\n');
  },
  '/readyz': async ({ checks }, response) => {
    const results = await Promise.all(Object.entries(checks).map(([name, check]) => runCheck(name, check)));
    const isReady = results.every(({ problem }) => problem === undefined);
    response.writeHead(isReady ? 200 : 503, { 'content-type': 'application/json' });
    response.end(
      `${JSON.stringify(Object.fromEntries(results.map(({ name, problem }) => [name, problem ?? 'ok'])))}\n`,
    );
  },
  '/metrics': async ({ registry }, response) => {
    response.setHeader('content-type', registry.contentType);
    response.end(await registry.metrics());
  },
};

async function runCheck(
  name: string,
  check: () => Promise<unknown>,
): Promise<{ name: string; problem: string | undefined }> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${CHECK_MS} ms`)), CHECK_MS);
  });
  try {
    await Promise.race([check(), late]);
    return { name, problem: undefined };
  } catch (error) {
    return { name, problem: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
  }
}
