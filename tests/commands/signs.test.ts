import { expect, test } from 'vitest';
import { RESULT_ACTIONS } from '../../commands/command.ts';
import { meaningOfEmoji, meaningOfSlackName, SIGNS, signOf } from '../../commands/signs.ts';

test('an emoji and its name on Slack mean the same, and no sign means two things', () => {
  const signs = SIGNS.flatMap(({ action, argument, also, ...sign }) =>
    [sign, ...also].map(({ emoji, slackName }) => ({ emoji, slackName, wanted: `${action} ${argument}` })),
  );
  for (const { emoji, slackName, wanted } of signs) {
    const meanings = [meaningOfEmoji(emoji), meaningOfSlackName(slackName)];
    expect(meanings.map((meaning) => `${meaning?.action} ${meaning?.argument}`)).toEqual([wanted, wanted]);
  }
  expect(new Set(signs.map(({ slackName }) => slackName)).size).toBe(signs.length);
});

test('skin tones and coloured forms change nothing, and other emoji mean nothing', () => {
  expect(meaningOfEmoji('1⃣')).toEqual({ action: 'vary', argument: 1 });
  expect(meaningOfEmoji('✉')).toEqual({ action: 'send-to-me' });
  expect(meaningOfSlackName('pencil2::skin-tone-3')).toEqual({ action: 'edit' });
  for (const other of ['❤️', '👍🏽', 'constructor', '']) expect(meaningOfEmoji(other)).toBeUndefined();
  expect(meaningOfSlackName('__proto__')).toBeUndefined();
});

test('everything that a result offers has a sign, steering and cancelling have buttons alone', () => {
  const withSign = RESULT_ACTIONS.filter((action) => SIGNS.some((sign) => sign.action === action));
  expect(RESULT_ACTIONS.filter((action) => !withSign.includes(action))).toEqual(['cancel', 'use-sample', 'stop-here']);
  expect(() => signOf('cancel')).toThrow('Cannot label a button');
});
