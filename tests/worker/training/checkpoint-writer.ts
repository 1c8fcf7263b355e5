/** Saves checkpoints in a loop until it is killed, and says each step that is saved; for checkpoint-file.test.ts. */
import { writeSync } from 'node:fs';
import { loadLatestCheckpoint, saveCheckpoint } from '../../../worker/training/checkpoint-file.ts';
import { checkpointAt } from './checkpoint-steps.ts';

const folder = process.argv[2]!;
for (let step = ((await loadLatestCheckpoint(folder))?.step ?? 0) + 1; ; step++) {
  await saveCheckpoint(folder, checkpointAt(step));
  writeSync(1, `${step}\n`);
}
