import { expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import {
  classPrompt,
  fillTemplate,
  instancePrompt,
  OBJECT_TEMPLATES,
  STYLE_TEMPLATES,
} from '../../../worker/training/prompts.ts';

test('instance and class prompt differ by the identifier only', () => {
  expect(instancePrompt('nts', ' dog ')).toBe('a photo of nts dog');
  expect(classPrompt('dog')).toBe('a photo of dog');
});

test('blank words are refused', () => {
  expect(() => instancePrompt('', 'dog')).toThrow(UserError);
  expect(() => instancePrompt('nts', ' ')).toThrow(/class noun must not be blank/);
  expect(() => classPrompt('')).toThrow(UserError);
});

test('every template is different and names the learned words once', () => {
  const templates = [...OBJECT_TEMPLATES, ...STYLE_TEMPLATES];
  expect(OBJECT_TEMPLATES).toHaveLength(20);
  expect(STYLE_TEMPLATES).toHaveLength(12);
  expect(new Set(templates).size).toBe(32);
  for (const template of templates) expect(template.split('{}')).toHaveLength(2);
});

test('template takes all tokens in order, signs of replacement patterns included', () => {
  expect(fillTemplate('a photo of {} here', ['<$&>', '<$&>_1'])).toBe('a photo of <$&> <$&>_1 here');
});
