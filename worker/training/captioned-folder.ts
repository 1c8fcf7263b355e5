import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, parse } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import { listPictures, loadPhoto, type Photo } from './photos.ts';

/** A folder of pictures that are read when they are asked for; there may be more of them than memory holds. */
export interface CaptionedFolder {
  /** Paths, in the order of their names. */
  readonly files: readonly string[];
  /** One per picture: the text file beside it, as sd-scripts has it, or the caption for all. */
  readonly captions: readonly string[];
  /** Reads a picture, resized so that its shorter side is the resolution. */
  read(index: number): Promise<Photo>;
}

const CAPTION = /\.(txt|caption)$/i;

/**
 * Opens a folder of pictures, each with a text file of its name or without one.
 * @param commonCaption  of pictures without a text file
 * @throws UserError that names the first picture without a caption
 */
export async function openCaptionedFolder(
  folder: string,
  { resolution, commonCaption }: { resolution: number; commonCaption: string | undefined },
): Promise<CaptionedFolder> {
  const names = (await listPictures(folder)).filter((name) => !CAPTION.test(name));
  if (names.length === 0) throw new UserError(`Cannot train: ${folder} must hold pictures, got captions only`);
  const captions: string[] = [];
  for (const name of names) captions.push(await captionOf(join(folder, name), commonCaption));
  const files = names.map((name) => join(folder, name));
  return { files, captions, read: (index) => loadPhoto(files[index]!, { resolution, maskFile: undefined }) };
}

async function captionOf(file: string, commonCaption: string | undefined): Promise<string> {
  const { dir, name } = parse(file);
  const text = ['.txt', '.caption'].map((ending) => join(dir, name + ending)).find(existsSync);
  if (text !== undefined) return (await readFile(text, 'utf8')).trim();
  if (commonCaption !== undefined) return commonCaption;
  throw new UserError(
    `Cannot train: ${file} must have a caption in ${name}.txt, or all a common --instance-prompt, got none`,
  );
}
