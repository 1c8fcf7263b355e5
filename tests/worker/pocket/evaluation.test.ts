import { afterAll, beforeAll, expect, test } from 'vitest';
import { adherence } from '../../../worker/pocket/evaluation/adherence.ts';
import { scoresOf } from '../../../worker/pocket/evaluation/control.ts';
import { mean } from '../../../worker/pocket/evaluation/control-score.ts';
import { openStudio, type Studio } from '../../../worker/pocket/evaluation/studio.ts';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';
import { type Critic, openCritic } from '../../../worker/pocket/judges/critic.ts';

const session = { device: 'cpu', threads: 1 } as const;
const SAMPLES = 16;

let critic: Critic;
let studio: Studio;
beforeAll(async () => {
  critic = await openCritic(session);
  studio = await openStudio({ family: POCKET_FOLDER, session });
});
afterAll(async () => {
  await studio.dispose();
  await critic.dispose();
});

test('pictures show what their prompts name far more often than by chance', async () => {
  const { measures } = await adherence({ studio, critic }, SAMPLES);
  const seen = Object.fromEntries(
    measures.map((measure) => [measure.name.split(' ')[0], Number.parseFloat(measure.seen)]),
  );
  expect(seen['noun']).toBeGreaterThan(50);
  expect(seen['color']).toBeGreaterThan(50);
  expect(seen['background']).toBeGreaterThan(60);
}, 120_000);

test('pictures follow a sketch far better than without it', async () => {
  const options = { studio, critic, family: POCKET_FOLDER, samples: 8 };
  const score = async (networks: Parameters<typeof scoresOf>[1]) =>
    mean((await scoresOf('sketch', networks, options)).map((one) => one.score));
  const [without, controlled] = [await score([]), await score([{ network: 'controlnet', kind: 'sketch' }])];
  expect(controlled).toBeGreaterThan(without + 0.15);
}, 120_000);
