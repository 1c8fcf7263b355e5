import { fileURLToPath } from 'node:url';

/** The folder of the family that ships with Sketchbooth. */
export const POCKET_FOLDER = fileURLToPath(new URL('.', import.meta.url));

/** Name of a network's folder in the family. One ControlNet reads sketches and Canny edges. */
export function networkFolderName(network: 'controlnet' | 'adapter', map: string): string {
  return `${network}-${network === 'controlnet' && map === 'canny' ? 'sketch' : map}`;
}
