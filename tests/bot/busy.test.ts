/** The bot where it is hurried: what waits is told its place, and what cannot be answered in time is refused at once. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Invocation } from '../../commands/command.ts';
import { ALICE, BOB, type ChatMessage } from '../support/chat-platform.ts';
import { type RunningBot, startTinyBot } from '../support/running-bot.ts';

const IN_TIME = { timeout: 60_000, interval: 100 };

let bot: RunningBot;
beforeAll(async () => {
  bot = await startTinyBot({ withWorker: false });
}, 120_000);
afterAll(() => bot.stop());

const text = (message: ChatMessage) => message.shown.at(-1)!.text;

test('the place of a job that waits is refreshed when those before it are gone', async () => {
  const { chat } = bot;
  const ask = async (prompt: string, more: Partial<Invocation> = {}) => {
    const answer = await chat.type('imagine', { prompt, size: '64x64', steps: 1 }, more);
    if (answer.kind !== 'message' || !answer.jobId) throw new Error('Not queued');
    return { jobId: answer.jobId, message: chat.messages.at(-1)! };
  };
  const first = await ask('one');
  const second = await ask('two', { actor: BOB });
  const third = await ask('three');
  expect([first, second, third].map(({ message }) => text(message).split(',')[0])).toEqual([
    'Starting now',
    'Queued',
    'Queued',
  ]);
  expect(text(third.message)).toContain('#3');
  // A look at the line comes every 5 seconds; what it has not seen before it does not know to have moved.
  await new Promise((resolve) => setTimeout(resolve, 6000));
  expect(third.message.shown).toHaveLength(1);
  await chat.press({ action: 'cancel', target: { jobId: first.jobId }, actor: ALICE });
  await vi.waitFor(() => expect(text(third.message)).toContain('#2'), IN_TIME);
  expect(text(second.message)).toContain('Starting now');
  expect(third.message.shown.at(-1)!.buttons.map(({ action }) => action)).toEqual(['cancel']);
  expect(text(first.message)).toBe('Cancelled');
}, 120_000);

test('commands beyond what can be answered in time are refused at once, and none of those accepted is lost', async () => {
  const { chat, services } = bot;
  const before = await countJobs();
  const invocation = (i: number): Invocation => ({
    id: randomUUID(),
    command: 'imagine',
    options: { prompt: `picture ${i}`, size: '64x64', steps: 1 },
    images: {},
    actor: { platform: 'web', userId: `user-${i}`, displayName: `User ${i}` },
    isAdministrator: false,
    place: { platform: 'web', serverId: `server-${i % 10}`, channelId: 'studio' },
    uploadLimitBytes: 2 ** 20,
  });
  const answers = await Promise.all([...Array(1000)].map((_, i) => chat.inbox.invoke(invocation(i))));
  const accepted = answers.filter((answer) => answer.kind === 'message' && answer.jobId !== undefined);
  const refused = answers.filter((answer) => answer.kind === 'message' && answer.isRefusal);
  expect(accepted.length + refused.length).toBe(1000);
  expect(accepted).toHaveLength(400);
  expect(await countJobs()).toBe(before + 400);
  // The hurry is over.
  expect(await chat.inbox.invoke(invocation(2000))).toMatchObject({ jobId: expect.any(String) });

  async function countJobs(): Promise<number> {
    const rows = await services.database.selectFrom('jobs').select('id').execute();
    return rows.length;
  }
}, 120_000);
