import { expect, test } from 'vitest';
import { UserError } from '../../shared/errors.ts';
import { act, bob, concept, context, type Given, jobOf, picture, pictureOf } from '../support/given-commands.ts';

test('imagine leaves to model and place what nobody said', () => {
  expect(pictureOf('imagine', { options: { prompt: ' a red car ' } })).toEqual({
    kind: 'picture',
    prompt: 'a red car',
    model: 'pocket',
    seed: 42,
    count: 1,
    controls: [],
    concepts: [],
  });
});

test('imagine takes over every option, seed 0 included, numbers as text too', () => {
  const options = {
    prompt: 'a car',
    negative: 'people',
    size: '512x768',
    steps: '20',
    guidance: 5.5,
    seed: 0,
    count: 3,
    model: 'SD15',
  };
  const job = pictureOf('imagine', { options: { ...options, strength: '0,6' }, images: { image: [picture(1)] } });
  expect(job).toMatchObject({ width: 512, height: 768, numInferenceSteps: 20, guidanceScale: 5.5, seed: 0, count: 3 });
  expect(job).toMatchObject({ model: 'sd15', negativePrompt: 'people', image: picture(1), strength: 0.6 });
});

test.each<[string, Given, RegExp]>([
  ['no prompt', {}, /prompt is missing/],
  ['a blank prompt', { options: { prompt: '  ' } }, /prompt is missing/],
  ['an odd size', { options: { prompt: 'a', size: '100x100' } }, /multiple of 8.*got "100x100"/],
  ['a huge size', { options: { prompt: 'a', size: '4096x4096' } }, /from 64 to 2048/],
  ['half a step', { options: { prompt: 'a', steps: 2.5 } }, /steps must be a whole number from 1 to 150, got "2.5"/],
  ['more steps than the place allows', { options: { prompt: 'a', steps: 61 } }, /at most 60 here, got 61/],
  [
    'more pictures than the place allows',
    { options: { prompt: 'a', count: 3 }, context: { settings: { ...context.settings, maxCount: 2 } } },
    /at most 2 here/,
  ],
  ['a seed out of range', { options: { prompt: 'a', seed: 2 ** 32 } }, /seed must be/],
  ['a model nobody has', { options: { prompt: 'a', model: 'x' } }, /one of pocket, sd15, got "x"/],
  ['an unknown option', { options: { prompt: 'a', sed: 1 } }, /no option "sed"/],
  ['strength without an image', { options: { prompt: 'a', strength: 0.5 } }, /strength needs an image/],
  [
    'two pictures to start from',
    { options: { prompt: 'a' }, images: { image: [picture(1), picture(2)] } },
    /image must be one picture, got 2/,
  ],
  [
    'an option named like a property of objects',
    { options: { prompt: 'a', constructor: 1 } },
    /no option "constructor"/,
  ],
])('imagine refuses %s', (_, given, problem) => {
  expect(() => act('imagine', given)).toThrow(UserError);
  expect(() => act('imagine', given)).toThrow(problem);
});

test('prompts name concepts by whole words in any case, the longest name first', () => {
  const rex = concept('rex');
  const big = concept('Big Rex');
  const named = (prompt: string) =>
    pictureOf('imagine', { options: { prompt }, context: { concepts: [rex, big] } }).concepts.map(({ name }) => name);
  expect(named('REX on a beach')).toEqual(['rex']);
  expect(named('rex’s hat, t-rex')).toEqual(['rex']);
  expect(named('Trex and rexes')).toEqual([]);
  expect(named('big  rex at home')).toEqual(['Big Rex']);
  expect(named('big rex and rex')).toEqual(['Big Rex', 'rex']);
});

test('of two concepts with one name the own one is meant', () => {
  const concepts = [concept('rex', { id: 'theirs', owner: bob }), concept('rex', { id: 'mine' })];
  const job = pictureOf('imagine', { options: { prompt: 'rex', likeness: 0.7 }, context: { concepts } });
  expect(job.concepts).toMatchObject([{ conceptId: 'mine', scale: 0.7, promptText: 'nts dog' }]);
});

test('a concept draws with the model that it was taught on, and says so', () => {
  const concepts = [concept('rex', { model: 'sd15' }), concept('tom')];
  const action = act('imagine', { options: { prompt: 'rex' }, context: { concepts } });
  expect(jobOf(action).model).toBe('sd15');
  expect(action).toMatchObject({ note: expect.stringContaining('sd15') });
  expect(() => act('imagine', { options: { prompt: 'rex', model: 'pocket' }, context: { concepts } })).toThrow(
    /must be sd15/,
  );
  expect(() => act('imagine', { options: { prompt: 'rex and tom' }, context: { concepts } })).toThrow(
    /rex on sd15, tom on pocket/,
  );
});
