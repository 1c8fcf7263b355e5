import type { Config } from '../shared/config.ts';
import type { Database } from '../shared/database.ts';
import type { Log } from '../shared/log.ts';
import type { Platform } from './platform.ts';

/** What a platform may use beside its inbox. */
export interface PlatformServices {
  readonly config: Config;
  readonly database: Database;
  readonly log: Log;
}

/** The chat platforms that the configuration names, not connected yet. */
export async function createPlatforms(_services: PlatformServices): Promise<Platform[]> {
  return [];
}
