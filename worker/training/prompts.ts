import { UserError } from '../../shared/errors.ts';

/** What the templates leave open for the learned words. */
const PLACEHOLDER = '{}';

/** For a subject; short and neutral, so that only the learned words can explain what the photos have in common. */
export const OBJECT_TEMPLATES: readonly string[] = [
  'a plain photo of {}',
  'a snapshot of {}',
  'a picture that shows {}',
  'a photo of {} seen from nearby',
  'a photo of {} seen from further away',
  'a photo of {} taken indoors',
  'a photo of {} taken outdoors',
  'a photo of {} in daylight',
  'a photo of {} in soft light',
  'a picture of {} in the middle of the frame',
  'a picture of {} and its surroundings',
  'a color photo of {}',
  'a detailed picture of {}',
  'a simple picture of {}',
  'one more photo of {}',
  'a casual photo of {}',
  'a sharp photo of {}',
  'a slightly blurry photo of {}',
  'a photo in which {} can be seen',
  'a camera shot of {}',
];

/** For a manner of painting or drawing. */
export const STYLE_TEMPLATES: readonly string[] = [
  'a picture made in the manner of {}',
  'an artwork that looks like {}',
  'a scene drawn in the manner of {}',
  'an illustration with the look of {}',
  'a composition in {} style',
  'a detail of an artwork in {} style',
  'a large work in the manner of {}',
  'a small work in the manner of {}',
  'a colorful picture with the look of {}',
  'a quiet picture with the look of {}',
  'a study in {} style',
  'one more work in {} style',
];

/**
 * Writes learned words into a template.
 * @param tokens  all tokens of the subject in order, `<dog> <dog>_1`
 */
export function fillTemplate(template: string, tokens: readonly string[]): string {
  return template.replaceAll(PLACEHOLDER, () => tokens.join(' '));
}

/**
 * Describes a photo of the subject, "a photo of nts dog".
 * @throws UserError if a word is blank
 */
export function instancePrompt(identifier: string, classNoun: string): string {
  return `a photo of ${requireWord(identifier, 'identifier')} ${requireWord(classNoun, 'class noun')}`;
}

/**
 * Describes any member of the class, "a photo of dog": the instance prompt without the identifier.
 * @throws UserError if the class noun is blank
 */
export function classPrompt(classNoun: string): string {
  return `a photo of ${requireWord(classNoun, 'class noun')}`;
}

function requireWord(word: string, role: string): string {
  const trimmed = word.trim();
  if (trimmed === '') throw new UserError(`Cannot write the prompt: the ${role} must not be blank, got "${word}"`);
  return trimmed;
}
