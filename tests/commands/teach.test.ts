import { expect, test } from 'vitest';
import { UserError } from '../../shared/errors.ts';
import { act, bob, concept, context, type Given, lessonOf, photos } from '../support/given-commands.ts';

test('teach makes a lesson of a DreamBooth LoRA that deletes its photos', () => {
  const lesson = lessonOf({ options: { name: 'Rex', class: 'dog' }, images: photos });
  expect(lesson).toEqual({
    kind: 'lesson',
    conceptId: 'new-id',
    name: 'Rex',
    classNoun: 'dog',
    model: 'pocket',
    method: 'dreambooth-lora',
    photos: photos.photos,
    seed: 42,
    isKeepingPhotos: false,
  });
});

test('teach asks for consent where the class is a person, and records it', () => {
  const lesson = { name: 'Ada', class: 'young woman' };
  expect(() => act('teach', { options: lesson, images: photos })).toThrow(/consent must say/);
  expect(lessonOf({ options: { ...lesson, consent: 'it is me' }, images: photos }).consent).toBe('self');
  expect(lessonOf({ options: { ...lesson, consent: 'The person agreed' }, images: photos }).consent).toBe('given');
});

test.each<[string, Given, RegExp]>([
  [
    'two photos',
    { options: { name: 'Rex', class: 'dog' }, images: { photos: photos.photos.slice(0, 2) } },
    /3 to 5 pictures, got 2/,
  ],
  ['no photos', { options: { name: 'Rex', class: 'dog' } }, /photos is missing: attach 3 to 5/],
  ['a name like the class', { options: { name: 'Dog', class: 'dog' }, images: photos }, /must differ from class/],
  ['a name of signs', { options: { name: '$$', class: 'dog' }, images: photos }, /2 to 32 letters/],
  [
    'a name that is taken',
    { options: { name: 'REX', class: 'dog' }, images: photos, context: { concepts: [concept('rex')] } },
    /must be new among your concepts/,
  ],
  [
    'lessons where they are off',
    {
      options: { name: 'Rex', class: 'dog' },
      images: photos,
      context: { settings: { ...context.settings, mayTeach: false } },
    },
    /switched off here/,
  ],
])('teach refuses %s', (_, given, problem) => {
  expect(() => act('teach', given)).toThrow(UserError);
  expect(() => act('teach', given)).toThrow(problem);
});

test('concepts are listed, shared, renamed and forgotten by their owner', () => {
  const known = { context: { concepts: [concept('rex')] } };
  expect(act('concepts')).toEqual({ kind: 'list-concepts' });
  expect(act('concepts', { options: { do: 'share', name: 'Rex' }, ...known })).toEqual({
    kind: 'share-concept',
    conceptId: 'id of rex',
    sharedWith: 'channel',
  });
  expect(act('concepts', { options: { do: 'rename', name: 'rex', to: 'Max' }, ...known })).toEqual({
    kind: 'rename-concept',
    conceptId: 'id of rex',
    name: 'Max',
  });
  expect(act('concepts', { options: { do: 'forget', name: 'rex' }, ...known })).toEqual({
    kind: 'forget-concept',
    conceptId: 'id of rex',
  });
  expect(() => act('concepts', { options: { do: 'forget', name: 'tom' }, ...known })).toThrow(
    /got "tom" \(there are rex\)/,
  );
});

test('another person’s concept is forgotten by administrators only', () => {
  const given = { options: { do: 'forget', name: 'rex' }, context: { concepts: [concept('rex', { owner: bob })] } };
  expect(() => act('concepts', given)).toThrow(/must be yours, but Bob taught it/);
  expect(act('concepts', { ...given, invocation: { isAdministrator: true } })).toMatchObject({
    kind: 'forget-concept',
  });
});
