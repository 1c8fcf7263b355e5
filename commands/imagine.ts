import { UserError } from '../shared/errors.ts';
import type { Command, CommandOption } from './command.ts';
import { enqueuePicture, PICTURE_OPTIONS, PROMPT_OPTION } from './picture-options.ts';
import { readOptions } from './read-options.ts';

const OPTIONS = [
  PROMPT_OPTION,
  ...PICTURE_OPTIONS,
  { name: 'image', description: 'A picture to start from', type: 'image' },
  {
    name: 'strength',
    description: 'How far to go from that picture: 0.3 keeps much, 0.8 little',
    type: 'number',
    min: 0.01,
    max: 1,
  },
] as const satisfies readonly CommandOption[];

const DEFAULT_STRENGTH = 0.75;

export const imagine = {
  name: 'imagine',
  description: 'Draw a picture of a prompt',
  options: OPTIONS,
  act(invocation, context) {
    const values = readOptions('draw', OPTIONS, invocation);
    const image = values.image?.[0];
    if (image === undefined && values.strength !== undefined) {
      throw new UserError(`Cannot draw: strength needs an image to start from, got ${values.strength} without one`);
    }
    const start = image === undefined ? {} : { image, strength: values.strength ?? DEFAULT_STRENGTH };
    return enqueuePicture(values, { invocation, context }, start);
  },
} satisfies Command;
