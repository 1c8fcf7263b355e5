import { expect, test } from 'vitest';
import { readTypedOptions } from '../../../bot/web/page/typed-options.ts';
import { imagine } from '../../../commands/imagine.ts';

test.each([
  ['a red car', 'a red car', {}],
  ['a red car seed:5 count:4', 'a red car', { seed: '5', count: '4' }],
  ['steps:20 a car', 'a car', { steps: '20' }],
  ['a car negative:"people, text" at night', 'a car at night', { negative: 'people, text' }],
  ['ratio 3:2, style:oil, image:x', 'ratio 3:2, style:oil, image:x', {}],
])('options typed in "%s" are taken out of the prompt', (typed, text, values) => {
  expect(readTypedOptions(typed, imagine)).toEqual({ text, values });
});
