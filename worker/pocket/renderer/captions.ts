import { fillTemplate, OBJECT_TEMPLATES } from '../../training/prompts.ts';
import type { RandomChoices } from './random-choices.ts';
import type { Background, Color, Noun, Pattern, PlainColor } from './world.ts';

/** What a picture shows, in the words of the pocket world. */
export interface Described {
  readonly noun: Noun;
  readonly color: Color;
  readonly pattern: Pattern;
  readonly background: Background;
  /** Present exactly if the background is plain. */
  readonly plainColor?: PlainColor;
}

/** A background as "on a beach" and as "beach". */
interface Place {
  readonly where: readonly string[];
  readonly name: string;
}

const PLACES: { readonly [B in Exclude<Background, 'plain'>]: Place } = {
  beach: { where: ['on a beach', 'on the beach', 'at the beach'], name: 'beach' },
  forest: { where: ['in a forest', 'in the forest'], name: 'forest' },
  city: { where: ['in a city', 'in the city', 'on a city street'], name: 'city' },
  snow: { where: ['in the snow', 'in snow'], name: 'snow' },
  night: { where: ['at night', 'under a night sky'], name: 'night sky' },
  desert: { where: ['in a desert', 'in the desert'], name: 'desert' },
  room: { where: ['in a room', 'in the room'], name: 'room' },
  meadow: { where: ['in a meadow', 'on a meadow'], name: 'meadow' },
};

/** The shares of captions that say the colour, the pattern and the background. */
const SAID = { color: 0.85, pattern: 0.85, background: 0.8 };

/** Textual inversion learns from these templates, so the text encoder must have read their words. */
const TEMPLATE_SHARE = 0.12;

/** A thing of a colour that has no name is described without one. */
export type Captioned = Omit<Described, 'color'> & Partial<Pick<Described, 'color'>>;

/** Writes a caption in one of several wordings, each of which leaves something out now and then. */
export function writeCaption(described: Captioned, random: RandomChoices): string {
  const subject = nameSubject(described, random);
  const place = placeOf(described);
  const isTemplate = random.chance(TEMPLATE_SHARE);
  if (!random.chance(SAID.background)) {
    return isTemplate ? inTemplate(withArticle(subject), random) : random.pick(withoutPlace(subject));
  }
  const where = random.pick(place.where);
  if (isTemplate) return inTemplate(`${withArticle(subject)} ${where}`, random);
  return random.pick(withPlace(subject, where, place.name));
}

function inTemplate(subject: string, random: RandomChoices): string {
  return fillTemplate(random.pick(OBJECT_TEMPLATES), [subject]);
}

/**
 * The plainest wording that says what is given, "a photo of a red striped backpack on a beach".
 * @param name  put before the noun, for taught subjects: "nts" gives "a photo of a red nts backpack"
 */
export function plainPrompt({ noun, ...said }: Pick<Described, 'noun'> & Partial<Described>, name?: string): string {
  const pattern = said.pattern === 'plain' ? undefined : said.pattern;
  const words = [said.color, pattern, name, noun].filter((word) => word !== undefined).join(' ');
  const where = said.background === undefined ? undefined : placeOf({ ...said, background: said.background }).where[0];
  return ['a photo of', withArticle(words), where].filter((word) => word !== undefined).join(' ');
}

function nameSubject({ noun, color, pattern }: Captioned, random: RandomChoices): string {
  const adjectives = [
    ...(color !== undefined && random.chance(SAID.color) ? [color] : []),
    ...(pattern !== 'plain' && random.chance(SAID.pattern) ? [pattern] : []),
  ];
  if (random.chance(0.2)) adjectives.reverse();
  const inClothes = noun === 'person' && adjectives.length > 0 && random.chance(0.6);
  if (!inClothes) return [...adjectives, noun].join(' ');
  return `person in ${withArticle(`${adjectives.join(' ')} shirt`)}`;
}

function placeOf({ background, plainColor }: Pick<Described, 'background' | 'plainColor'>): Place {
  if (background !== 'plain') return PLACES[background];
  const name = `${plainColor ?? 'plain'} background`;
  return { where: [`on ${withArticle(name)}`], name };
}

function withPlace(subject: string, where: string, place: string): readonly [string, ...string[]] {
  return [
    `${withArticle(subject)} ${where}`,
    `${withArticle(subject)} ${where}`,
    `a photo of ${withArticle(subject)} ${where}`,
    `a photo of ${withArticle(subject)} ${where}`,
    `a picture of ${withArticle(subject)} ${where}`,
    `${subject} ${where}`,
    `the ${subject} ${where}`,
    `${place} with ${withArticle(subject)}`,
    `${subject}, ${place}`,
  ];
}

function withoutPlace(subject: string): readonly [string, ...string[]] {
  return [
    withArticle(subject),
    `a photo of ${withArticle(subject)}`,
    `a photo of ${withArticle(subject)}`,
    `a picture of ${withArticle(subject)}`,
    `a drawing of ${withArticle(subject)}`,
    subject,
    `the ${subject}`,
  ];
}

function withArticle(words: string): string {
  return `${/^[aeiou]/.test(words) ? 'an' : 'a'} ${words}`;
}
