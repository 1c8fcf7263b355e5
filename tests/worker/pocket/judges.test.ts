import { afterAll, beforeAll, expect, test } from 'vitest';
import { controlScore } from '../../../worker/pocket/evaluation/control-score.ts';
import { judgeMeasures } from '../../../worker/pocket/evaluation/judge-measures.ts';
import { meanDistance } from '../../../worker/pocket/evaluation/prior-preservation.ts';
import { type Critic, openCritic } from '../../../worker/pocket/judges/critic.ts';
import { CONTROL_MAPS } from '../../../worker/pocket/renderer/control-maps.ts';
import { renderScene } from '../../../worker/pocket/renderer/render-scene.ts';
import { describeScene } from '../../../worker/pocket/renderer/scene.ts';
import { drawSubject, HELD_OUT_SEED } from '../../../worker/pocket/renderer/subjects.ts';

let critic: Critic;
beforeAll(async () => {
  critic = await openCritic({ device: 'cpu', threads: 1 });
});
afterAll(() => critic.dispose());

test('the judges answer for drawn pictures that they have not learned from', async () => {
  const measures = await judgeMeasures(critic, 80);
  const answers = measures.filter(({ name }) => name.startsWith('judge: '));
  expect(answers).toHaveLength(5);
  for (const { name, seen } of answers) expect(Number.parseFloat(seen), name).toBeGreaterThan(80);
});

test('a picture scores high on its own maps, and low on those of another scene', async () => {
  for (const kind of CONTROL_MAPS) {
    const scene = describeScene(11, { noun: 'person' });
    const other = describeScene(12, { noun: 'person' });
    const { pixels } = await renderScene(scene);
    const own = await controlScore(kind, { pixels, scene, critic });
    const foreign = await controlScore(kind, { pixels, scene: other, critic });
    expect(own, kind).toBeGreaterThan(0.7);
    expect(foreign, kind).toBeLessThan(0.8 * own);
  }
});

test('pictures of one subject lie closer together than pictures of its class', async () => {
  const seeds = [0, 1, 2, 3, 4, 5];
  const featuresOf = async (draw: (seed: number) => Promise<{ pixels: Uint8Array }>) => {
    const pictures = await Promise.all(seeds.map(draw));
    return Promise.all(pictures.map(({ pixels }) => critic.features(pixels)));
  };
  const subject = await featuresOf((seed) => drawSubject('dog', HELD_OUT_SEED + seed));
  const others = await featuresOf((seed) => renderScene(describeScene(seed, { noun: 'dog' })));
  for (const vector of [...subject, ...others]) expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
  expect(meanDistance(subject)).toBeLessThan(meanDistance(others) / 2);
});
