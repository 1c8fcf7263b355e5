/** Options that take images, as Discord asks for them: one attachment option for each image, or one upload field for all. */
import type { Command, CommandOption } from '../../commands/command.ts';
import type { AttachedFile } from './attachments.ts';

type ImageOption = Extract<CommandOption, { type: 'image' }>;

/** An image that a command can take. */
export interface ImageSlot {
  /** Name of Discord's attachment option. */
  readonly name: string;
  readonly option: ImageOption;
  readonly isRequired: boolean;
}

/** Files by option name. */
export type AttachedImages = Readonly<Record<string, readonly AttachedFile[]>>;

/** Every image that a command can take, in its own order: `photos` of three to five become photo1 to photo5. */
export function imageSlots(command: Command): ImageSlot[] {
  return command.options.filter((option) => option.type === 'image').flatMap(slotsOf);
}

function slotsOf(option: ImageOption): ImageSlot[] {
  const maxCount = option.maxCount ?? 1;
  const minCount = option.isRequired ? (option.minCount ?? 1) : 0;
  return Array.from({ length: maxCount }, (_, index) => ({
    name: maxCount === 1 ? option.name : `${option.name.replace(/s$/, '')}${index + 1}`,
    option,
    isRequired: index < minCount,
  }));
}

/** Gives files to the slots that are free, in order; files beyond the last slot are left out. */
export function fillSlots(command: Command, given: AttachedImages, files: readonly AttachedFile[]): AttachedImages {
  const filled: Record<string, AttachedFile[]> = {};
  for (const [name, images] of Object.entries(given)) filled[name] = [...images];
  const waiting = [...files];
  for (const option of command.options) {
    if (option.type !== 'image') continue;
    const images = filled[option.name] ?? [];
    images.push(...waiting.splice(0, (option.maxCount ?? 1) - images.length));
    if (images.length > 0) filled[option.name] = images;
  }
  return filled;
}

/** How many images are needed still, and how many more are possible. */
export function openSlots(command: Command, given: AttachedImages): { needed: number; possible: number } {
  const options = command.options.filter((option) => option.type === 'image');
  const count = (option: ImageOption) => given[option.name]?.length ?? 0;
  const needed = options.map((option) => (option.isRequired ? (option.minCount ?? 1) : 0) - count(option));
  const possible = options.map((option) => (option.maxCount ?? 1) - count(option));
  const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + Math.max(0, number), 0);
  return { needed: sum(needed), possible: sum(possible) };
}
