import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { networkFolderName, POCKET_FOLDER } from '../pocket/folder.ts';

/** What a name is asked for as: `pocket/sketch` is a ControlNet to one flag and a T2I-Adapter to another. */
export type NetworkKind = 'model' | 'controlnet' | 'adapter';

/** Name of the model that ships with Sketchbooth. */
export const SHIPPED_MODEL = 'pocket';

/**
 * The folder of a network that ships with Sketchbooth, `pocket` or `pocket/KIND-OF-MAP`; undefined for other names.
 */
export function shippedFolder(name: string, kind: NetworkKind = 'model'): string | undefined {
  const [family, map, ...rest] = name.split('/');
  if (family !== SHIPPED_MODEL || rest.length > 0) return undefined;
  if (kind === 'model') return map === undefined ? existing('model') : undefined;
  if (map === undefined || !/^\w+$/.test(map)) return undefined;
  return existing(networkFolderName(kind, map));
}

function existing(folder: string): string | undefined {
  const path = join(POCKET_FOLDER, folder);
  return existsSync(join(path, folder === 'model' ? 'model_index.json' : 'config.json')) ? path : undefined;
}
