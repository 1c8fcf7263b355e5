import { expect, test } from 'vitest';
import { SPANS } from '../../commands/sketch.ts';
import { UserError } from '../../shared/errors.ts';
import { act, type Given, picture, pictureOf } from '../support/given-commands.ts';

test('sketch takes three maps without JSON, each with its own settings', () => {
  const options = {
    prompt: 'a',
    kind: 'sketch',
    strength: 0.8,
    during: '0-60%',
    kind2: 'depth',
    during2: '.2 to 1',
    method3: 't2i-adapter',
  };
  const images = { image: [picture(1)], image2: [picture(2)], image3: [picture(3)] };
  const { controls } = pictureOf('sketch', { options, images });
  const auto = { source: 'auto', conditioningScale: 1, controlGuidanceStart: 0, controlGuidanceEnd: 1 };
  expect(controls).toEqual([
    {
      ...auto,
      image: picture(1),
      kind: 'sketch',
      method: 'controlnet',
      conditioningScale: 0.8,
      controlGuidanceEnd: 0.6,
    },
    { ...auto, image: picture(2), kind: 'depth', method: 't2i-adapter', controlGuidanceStart: 0.2 },
    { ...auto, image: picture(3), kind: 'auto', method: 't2i-adapter' },
  ]);
});

test('spans that are suggested can be taken as they are', () => {
  const starts = SPANS.map((during) => {
    const { controls } = pictureOf('sketch', { options: { prompt: 'a', during }, images: { image: [picture(1)] } });
    return [controls[0]?.controlGuidanceStart, controls[0]?.controlGuidanceEnd];
  });
  expect(starts).toEqual([
    [0, 1],
    [0, 0.5],
    [0, 0.8],
    [0.2, 1],
  ]);
});

test.each<[string, Given, RegExp]>([
  ['no image', { options: { prompt: 'a' } }, /image is missing: attach one picture/],
  [
    'a second kind without a second image',
    { options: { prompt: 'a', kind2: 'pose' }, images: { image: [picture(1)] } },
    /kind2 needs image2/,
  ],
  [
    'a kind that the model has no network for',
    { options: { prompt: 'a', kind: 'pose' }, images: { image: [picture(1)] } },
    /one that pocket has \(sketch by controlnet, .*got pose/,
  ],
  [
    'a method that the kind has no network for',
    { options: { prompt: 'a', kind: 'depth', method: 'controlnet' }, images: { image: [picture(1)] } },
    /got depth by controlnet/,
  ],
  [
    'any control on a model without networks',
    { options: { prompt: 'a', model: 'sd15' }, images: { image: [picture(1)] } },
    /it has none/,
  ],
  [
    'an end before the start',
    { options: { prompt: 'a', during: '0.6-0.2' }, images: { image: [picture(1)] } },
    /during must be start-end/,
  ],
])('sketch refuses %s', (_, given, problem) => {
  expect(() => act('sketch', given)).toThrow(UserError);
  expect(() => act('sketch', given)).toThrow(problem);
});
