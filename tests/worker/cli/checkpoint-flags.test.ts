import { expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { parseCheckpointFlags } from '../../../worker/cli/checkpoint-flags.ts';

test('a step of a lesson is asked for by its folder alone', () => {
  expect(parseCheckpointFlags(['--from-checkpoint', '300', '--out', 'rex'])).toEqual({ out: 'rex', step: 300 });
  expect(parseCheckpointFlags(['--out', 'rex', '--from-checkpoint=latest'])).toEqual({ out: 'rex', step: 'latest' });
  expect(parseCheckpointFlags(['--method', 'dreambooth', '--out', 'rex'])).toBeUndefined();
});

test.each([
  [['--from-checkpoint', '300'], /--out must be the folder of the lesson/],
  [['--from-checkpoint', 'newest', '--out', 'rex'], /must be a step or latest, got "newest"/],
  [['--from-checkpoint', '-1', '--out', 'rex'], /must go with --out alone/],
  [['--from-checkpoint', '3', '--out', 'rex', '--method', 'dreambooth'], /must go with --out alone/],
])('%j is refused', (args, message) => {
  expect(() => parseCheckpointFlags(args)).toThrow(UserError);
  expect(() => parseCheckpointFlags(args)).toThrow(message);
});
