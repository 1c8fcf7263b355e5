import { COMMANDS } from '../commands/index.ts';
import type { Config } from '../shared/config.ts';
import type { Database } from '../shared/database.ts';
import type { Log } from '../shared/log.ts';
import { createDiscordPlatform } from './discord/platform.ts';
import type { Platform } from './platform.ts';
import { createSlackPlatform } from './slack/platform.ts';
import { WebPlatform } from './web/web-platform.ts';

/** What a platform may use beside its inbox. */
export interface PlatformServices {
  readonly config: Config;
  readonly database: Database;
  readonly log: Log;
}

/** The chat platforms that the configuration names, not connected yet. */
export async function createPlatforms({ config, database, log }: PlatformServices): Promise<Platform[]> {
  const { discord, slack, web, dataDir, maxUploadBytes } = config;
  const platforms: Platform[] = [];
  if (discord) {
    platforms.push(createDiscordPlatform({ config: discord, commands: COMMANDS, dataDir, maxUploadBytes, log }));
  }
  if (slack) platforms.push(createSlackPlatform({ config: slack, commands: COMMANDS, maxUploadBytes, log }));
  if (web) platforms.push(new WebPlatform({ config: web, database, maxUploadBytes, log }));
  return platforms;
}
