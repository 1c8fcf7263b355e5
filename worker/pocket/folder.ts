import { fileURLToPath } from 'node:url';

/** The folder of the family that ships with Sketchbooth. */
export const POCKET_FOLDER = fileURLToPath(new URL('.', import.meta.url));
