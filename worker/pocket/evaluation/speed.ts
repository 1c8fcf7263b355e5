import { availableParallelism, loadavg } from 'node:os';
import { renderControlMap } from '../renderer/control-maps.ts';
import { describeScene } from '../renderer/scene.ts';
import type { Findings, Measure } from './measure.ts';
import { missing } from './measure.ts';
import { controlFolder, isShipped, STEPS, type Studio, type StudioControl } from './studio.ts';

/** Of the first picture only the model's loading would be measured. */
const PICTURES = 5;

/** Seconds for a picture, with and without a ControlNet, on a machine that may be busy otherwise: its load is said. */
export async function speed({ studio, family }: { studio: Studio; family: string }): Promise<Findings> {
  const scene = describeScene(0);
  const plain = await medianSeconds(studio, []);
  const measures = [timed('no control', plain, 1.5)];
  const control = { network: 'controlnet', kind: 'sketch' } as const;
  if (await isShipped(controlFolder(family, control))) {
    const seconds = await medianSeconds(studio, [{ ...control, map: await renderControlMap(scene, 'sketch') }]);
    measures.push(timed('one ControlNet', seconds, 2.5));
  } else measures.push(missing(nameOf('one ControlNet'), '2.5 s', 'controlnet-sketch'));
  return { measures, exhibits: [] };
}

async function medianSeconds(studio: Studio, controls: readonly StudioControl[]): Promise<number> {
  const { caption: prompt } = describeScene(0);
  await studio.draw({ prompt, seed: 0, controls });
  const seconds: number[] = [];
  for (let seed = 0; seed < PICTURES; seed++) {
    const started = performance.now();
    await studio.draw({ prompt, seed, controls });
    seconds.push((performance.now() - started) / 1000);
  }
  return seconds.sort((a, b) => a - b)[Math.floor(PICTURES / 2)] ?? 0;
}

function nameOf(what: string): string {
  return `time per picture, ${STEPS} steps with guidance, ${what}`;
}

function timed(what: string, seconds: number, goal: number): Measure {
  const [load = 0] = loadavg();
  const seen = `${seconds.toFixed(2)} s on ${availableParallelism()} cores at a load of ${load.toFixed(1)}`;
  return {
    name: nameOf(what),
    goal: `${goal} s on 2 idle cores`,
    seen,
    samples: PICTURES,
    verdict: seconds <= goal ? 'met' : 'missed',
  };
}
