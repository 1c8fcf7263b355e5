/** The program is killed at the worst moments, and every command ends in one picture. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type DiscordPeer, startDiscordPeer } from '../../support/discord-peer/peer.ts';
import { createDiscordProgram, type DiscordProgram } from '../../support/discord-program.ts';

const IN_TIME_MS = 120_000;
const MESSAGES = /^\/channels\/\d+\/messages$/;

let peer: DiscordPeer;
let program: DiscordProgram;
beforeAll(async () => {
  peer = await startDiscordPeer();
  program = await createDiscordProgram(peer);
  await program.start();
}, 300_000);
afterAll(async () => {
  program.kill();
  await program.ended();
  await program.remove();
  await peer.close();
});

const results = () =>
  peer.messages().flatMap((message) => {
    const [, key] = /-# (end-\w+)$/.exec(peer.text(message)) ?? [];
    return key === undefined ? [] : [key];
  });

const draw = (prompt: string) => peer.slashCommand('imagine', { options: { prompt, size: '64x64', steps: 2 } });

/** Kills the program when it posts a result, and starts it again. */
async function crashWhilePosting(kind: 'lose-answer' | 'lose-request'): Promise<void> {
  peer.fail({ kind, method: 'POST', path: MESSAGES, onHit: () => program.kill() });
  await program.ended();
  await program.start();
}

test('picture that was posted as the program died is not posted again', async () => {
  draw('a red car');
  await crashWhilePosting('lose-answer');
  expect(results()).toHaveLength(1);
  // The nonce is forgotten by now: only the message itself can tell.
  peer.advance(60 * 60_000);
  draw('a blue car');
  await peer.until(() => results().length >= 2, 'the second picture', IN_TIME_MS);
  expect(new Set(results()).size).toBe(2);
  expect(results()).toHaveLength(2);
}, 300_000);

test('picture that was not posted as the program died is posted once', async () => {
  draw('a green car');
  await crashWhilePosting('lose-request');
  await peer.until(() => results().length >= 3, 'the picture', IN_TIME_MS);
  expect(new Set(results()).size).toBe(3);
  expect(results()).toHaveLength(3);
}, 300_000);

test('commands that were acknowledged before the program died are carried out', async () => {
  const asked = ['a', 'b', 'c'].map((prompt) => draw(prompt));
  await peer.until(() => asked.every(({ original }) => original?.isDeferred === false), 'acknowledgements', IN_TIME_MS);
  program.kill();
  await program.ended();
  await program.start();
  await peer.until(() => results().length >= 6, 'the pictures', IN_TIME_MS);
  expect(new Set(results()).size).toBe(6);
  expect(results()).toHaveLength(6);
  expect(peer.violations).toEqual([]);
}, 300_000);
