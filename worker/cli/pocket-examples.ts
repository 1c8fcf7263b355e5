import { writeExamples } from '../pocket/examples.ts';

const FOLDER = 'worker/pocket/examples';

for (const { file, kind, prompt } of await writeExamples(FOLDER)) {
  console.log(`${FOLDER}/${file}: a ${kind} map for "${prompt}"`);
}
