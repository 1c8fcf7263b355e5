import type { Answers, Critic } from '../judges/critic.ts';
import { type Described, plainPrompt } from '../renderer/captions.ts';
import { describeScene } from '../renderer/scene.ts';
import { type Findings, judged } from './measure.ts';
import type { Studio } from './studio.ts';

const GOAL = 0.9;
/** Pictures of the page: as many as a person is asked to look at. */
export const EXHIBITED = 64;

/** Whether a picture shows what its prompt names. */
export async function adherence(
  { studio, critic }: { studio: Studio; critic: Critic },
  samples: number,
): Promise<Findings> {
  const results: { described: Described; pixels: Uint8Array; found: Answers }[] = [];
  for (let seed = 0; seed < samples; seed++) {
    const { described } = describeScene(seed);
    const pixels = await studio.draw({ prompt: plainPrompt(described), seed });
    results.push({ described, pixels, found: await critic.answers(pixels) });
  }
  const measures = (['noun', 'color', 'background', 'pattern'] as const).map((question) => {
    const named = results.filter(({ described }) => question !== 'pattern' || described.pattern !== 'plain');
    const right = named.filter(({ described, found }) => described[question] === found[question]);
    const seen = right.length / Math.max(1, named.length);
    return judged(`${question} named in the prompt is the one seen`, { seen, goal: GOAL, samples: named.length });
  });
  const pictures = results.slice(0, EXHIBITED).map(({ pixels }) => pixels);
  return { measures, exhibits: [{ title: 'Pictures of the first prompts, none left out', pictures, columns: 8 }] };
}
