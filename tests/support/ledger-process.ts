/** A bot, a worker or both, as the ledger test kills them; the chat is the test itself, reached over IPC. */
import { randomUUID } from 'node:crypto';
import { PGlite } from '@electric-sql/pglite';
import { startBot } from '../../bot/main.ts';
import type { MessageRef, Platform } from '../../bot/platform.ts';
import { COMMANDS } from '../../commands/index.ts';
import { loadConfig } from '../../shared/config.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import { openServices, openWorkerServices } from '../../shared/services.ts';
import { startWorker } from '../../worker/main.ts';
import type { FromLedgerBot, ToLedgerBot } from './ledger-messages.ts';

/** A worker's jobs are taken over after this time. */
const LOCK_MS = 4000;

const send = (message: FromLedgerBot) => process.send?.(message);
process.on('disconnect', () => process.exit(0));

let statements = 0;
let death: { statement: number; when: 'before' | 'after' } | undefined;

/** Everything durable of the embedded database is a statement: dying before or after one covers every step. */
function dieAtStatements(): void {
  for (const method of ['query', 'exec'] as const) {
    const original = PGlite.prototype[method] as (...args: unknown[]) => Promise<unknown>;
    const patched = async function (this: PGlite, ...args: unknown[]) {
      const isLast = death !== undefined && ++statements >= death.statement;
      if (isLast && death?.when === 'before') process.kill(process.pid, 'SIGKILL');
      const result = await original.apply(this, args);
      if (isLast) process.kill(process.pid, 'SIGKILL');
      return result;
    };
    Object.assign(PGlite.prototype, { [method]: patched });
  }
}

function ledgerPlatform(): Platform {
  const waiting = new Map<number, (message: MessageRef | undefined) => void>();
  let calls = 0;
  const ask = (kind: 'post' | 'find', key: string, { isError = false, text = '' } = {}) =>
    new Promise<MessageRef | undefined>((resolve) => {
      waiting.set(++calls, resolve);
      send({ kind, call: calls, key, isError, text });
    });
  let isStarted = false;
  return {
    name: 'web',
    start: async (inbox) => {
      isStarted = true;
      process.on('message', (message: ToLedgerBot) => {
        if (message.kind === 'posted') waiting.get(message.call)?.(message.message);
        if (message.kind === 'die') {
          statements = 0;
          death = message;
        }
        if (message.kind !== 'invoke') return;
        const { invocation } = message;
        void inbox.invoke(invocation).then(async (answer) => {
          send({ kind: 'acknowledged', invocationId: invocation.id, answer });
          if (answer.kind !== 'message' || answer.jobId === undefined) return;
          const ref: MessageRef = { platform: 'web', channelId: 'studio', messageId: randomUUID() };
          await inbox.acknowledged(answer.jobId, ref);
        });
      });
    },
    post: async (_to, reply, key) => {
      const message = await ask('post', key, { isError: reply.pictures.length === 0, text: reply.text });
      if (!message) throw new Error('The chat refused the post');
      return message;
    },
    findPosted: (_to, key) => ask('find', key),
    edit: async () => undefined,
    remove: async () => undefined,
    sendDirect: async () => undefined,
    isReady: () => isStarted,
    stop: async () => undefined,
  };
}

async function main(role: string, variables: NodeJS.ProcessEnv): Promise<void> {
  dieAtStatements();
  const config = loadConfig(variables);
  const metrics = createMetrics();
  const log = createLog(config, role);
  if (role === 'worker') {
    const services = await openWorkerServices(config);
    await startWorker({ ...services, config, log, metrics, lockMs: LOCK_MS });
  } else {
    const services = await openServices(config);
    await startBot({ ...services, config, log, metrics, platforms: [ledgerPlatform()], commands: COMMANDS });
    if (role === 'all') await startWorker({ ...services, config, log, metrics, lockMs: LOCK_MS });
  }
  send({ kind: 'ready' });
}

process.once('message', (message: ToLedgerBot) => {
  if (message.kind === 'start') void main(process.argv[2] ?? 'all', message.variables);
});
