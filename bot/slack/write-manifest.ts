/** Writes the app manifest that people paste into Slack. */
import { writeFile } from 'node:fs/promises';
import { COMMANDS } from '../../commands/index.ts';
import { slackManifest } from './manifest.ts';

const FILE = new URL('../../deploy/slack-manifest.json', import.meta.url);
await writeFile(FILE, `${JSON.stringify(slackManifest(COMMANDS), undefined, 2)}\n`);
