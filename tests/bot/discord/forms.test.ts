import { ComponentType } from 'discord.js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { COMMANDS } from '../../../commands/index.ts';
import { type DiscordBot, startDiscordBot } from '../../support/discord-bot.ts';
import type { GivenFile, PeerInteraction } from '../../support/discord-peer/peer.ts';
import { reply } from '../../support/memory-inbox.ts';
import { plainPng } from '../../support/pictures.ts';

let bot: DiscordBot;
beforeEach(async () => {
  bot = await startDiscordBot();
});
afterEach(async () => {
  await bot.stop();
  expect(bot.peer.violations).toEqual([]);
});

const COLORS = ['red', 'green', 'blue', 'gold', 'gray'];
const pngs = (count: number): Promise<GivenFile[]> =>
  Promise.all(
    COLORS.slice(0, count).map(async (color) => {
      return { name: `${color}.png`, type: 'image/png', bytes: await plainPng(color) };
    }),
  );

const shown = (interaction: PeerInteraction) => bot.peer.until(() => interaction.modal, 'the form');

function labels({ modal }: PeerInteraction): string[] {
  return modal!.components.flatMap((part) => (part.type === ComponentType.Label ? [part.label] : []));
}

test('sketch without an image asks for maps in a form, in order', async () => {
  const { peer, inbox } = bot;
  const asked = peer.slashCommand('sketch', { options: { prompt: 'a cat', count: 2 } });
  await shown(asked);
  expect(labels(asked)).toEqual(['prompt', 'images', 'kind', 'kind2', 'kind3']);
  const files = await pngs(2);
  peer.submitModal(asked, { images: files, kind: 'depth', kind2: 'pose' });
  await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  const [invocation] = inbox.invocations;
  expect(invocation).toMatchObject({
    command: 'sketch',
    options: { prompt: 'a cat', count: 2, kind: 'depth', kind2: 'pose' },
  });
  expect(Object.keys(invocation!.images)).toEqual(['image', 'image2']);
  expect(await inbox.readBlob(invocation!.images['image2']![0]!)).toEqual(Buffer.from(files[1]!.bytes));
});

test('photos given in the command are kept when more are asked for', async () => {
  const { peer, inbox } = bot;
  const [first, ...others] = await pngs(4);
  const asked = peer.slashCommand('teach', {
    options: { name: 'Rex', class: 'dog' },
    attachments: { photo1: first! },
  });
  await shown(asked);
  expect(() => peer.submitModal(asked, { photos: others.slice(0, 1) })).toThrow('needs 2 files');
  peer.submitModal(asked, { photos: others });
  await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  expect(inbox.invocations[0]).toMatchObject({ command: 'teach', options: { name: 'Rex', class: 'dog' } });
  expect(inbox.invocations[0]!.images['photos']).toHaveLength(4);
});

test('form that is open while the bot restarts is taken afterwards', async () => {
  const { peer, inbox } = bot;
  const asked = peer.slashCommand('sketch', { options: { prompt: 'a cat', seed: 3 } });
  await shown(asked);
  await bot.restart();
  peer.submitModal(asked, { images: await pngs(1) });
  await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  expect(inbox.invocations[0]).toMatchObject({ options: { prompt: 'a cat', seed: 3 } });
});

test('pictures of a message become photos of a lesson', async () => {
  const { peer, inbox } = bot;
  const message = peer.say('my dog', await pngs(4));
  const asked = peer.messageCommand('Teach from these', message);
  await shown(asked);
  expect(labels(asked)).toEqual(['name', 'class', 'photos', 'consent', 'method']);
  peer.submitModal(asked, { name: 'Rex', class: 'dog' });
  await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  expect(inbox.invocations[0]!.images['photos']).toHaveLength(4);
});

test('picture of a message becomes a control, and a message without one is refused', async () => {
  const { peer, inbox } = bot;
  const asked = peer.messageCommand('Use as control', peer.say('a sketch', await pngs(1)));
  await shown(asked);
  peer.submitModal(asked, { prompt: 'a house' });
  await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  expect(inbox.invocations[0]).toMatchObject({ command: 'sketch', options: { prompt: 'a house' } });
  expect(Object.keys(inbox.invocations[0]!.images)).toEqual(['image']);
  peer.messageCommand('Use as control', peer.say('just words', []));
  const refusal = await peer.until(() => peer.privateMessages(peer.ada)[0], 'the refusal');
  expect(peer.text(refusal)).toContain('must have pictures');
});

const PLACE_OF_RESULT = () => ({ platform: 'discord' as const, channelId: bot.peer.channel.id });

async function postResult() {
  const { peer, platform } = bot;
  const owner = { platform: 'discord' as const, userId: peer.ada.id, displayName: 'ada' };
  const buttons = [{ action: 'edit', jobId: 'abc', label: 'Edit' } as const];
  await platform.post(
    { place: PLACE_OF_RESULT(), owner, uploadLimitBytes: 1e7 },
    reply('a cat', { buttons }),
    'end-abc',
  );
  return peer.messages().at(-1)!;
}

async function editForm() {
  const sketch = COMMANDS.find(({ name }) => name === 'sketch')!;
  const values = { prompt: 'a cat', seed: 7, steps: 20, strength: 0.8, kind: 'sketch' };
  const [image] = await pngs(1);
  return {
    kind: 'form' as const,
    form: {
      command: 'sketch',
      title: 'Change the picture',
      fields: sketch.options.map((option) => ({ option, value: values[option.name as keyof typeof values] })),
      hidden: {},
      images: { image: [bot.inbox.keep(image!.bytes, 'image/png')] },
      parentJobId: 'abc',
    },
  };
}

test('edit shows a form filled in, and keeps what it does not show', async () => {
  const { peer, inbox } = bot;
  const message = await postResult();
  const outcome = await editForm();
  inbox.answerPress = () => outcome;
  const pressed = peer.press(message, 'Edit');
  await shown(pressed);
  expect(labels(pressed)).toEqual(['prompt', 'negative', 'strength', 'seed', 'steps']);
  peer.submitModal(pressed, { prompt: 'a dog', seed: '' });
  await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  expect(inbox.invocations[0]).toMatchObject({
    command: 'sketch',
    options: { prompt: 'a dog', steps: '20', strength: '0.8', kind: 'sketch' },
    images: outcome.form.images,
    parentJobId: 'abc',
  });
  expect(inbox.invocations[0]!.options).not.toHaveProperty('seed');
});

test('form that comes too late is opened by a button', async () => {
  const { peer, inbox } = bot;
  const message = await postResult();
  const outcome = await editForm();
  inbox.answerPress = async () => {
    await new Promise((resolve) => setTimeout(resolve, 1800));
    return outcome;
  };
  peer.press(message, 'Edit');
  const ready = await peer.until(
    () => peer.privateMessages(peer.ada).find(({ isDeferred }) => !isDeferred),
    'the button',
  );
  const opened = peer.press(ready, 'Open the form');
  await shown(opened);
  expect(labels(opened)).toContain('prompt');
});
