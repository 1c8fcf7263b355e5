import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadConfig } from '../../shared/config.ts';
import { pictureStrip } from '../pocket/evaluation/strip.ts';
import { POCKET_FOLDER } from '../pocket/folder.ts';
import { chooseDevice } from '../runtime/device.ts';
import { runCommand } from './run-command.ts';

const FILE = join(POCKET_FOLDER, 'strip.webp');

/** Makes the README's picture with the pocket family. */
async function main(): Promise<void> {
  const { device } = await chooseDevice('auto');
  const workFolder = join(loadConfig().dataDir, 'pocket-evaluation');
  await writeFile(FILE, await pictureStrip({ family: POCKET_FOLDER, workFolder, session: { device } }));
  console.log(FILE);
}

await runCommand(main);
