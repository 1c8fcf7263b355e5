import type { Critic } from '../judges/critic.ts';
import { plainPrompt } from '../renderer/captions.ts';
import { CONTROL_MAPS, type ControlMapKind, renderControlMap } from '../renderer/control-maps.ts';
import { renderScene } from '../renderer/render-scene.ts';
import { describeScene, type SceneDescription } from '../renderer/scene.ts';
import { controlScore, mean, SCORE_NAMES } from './control-score.ts';
import { type Exhibit, type Findings, judged, type Measure, missing } from './measure.ts';
import { controlFolder, isShipped, type Studio, type StudioControl, withMemory } from './studio.ts';

type Network = StudioControl['network'];

export interface ControlOptions {
  readonly studio: Studio;
  readonly critic: Critic;
  readonly family: string;
  readonly samples: number;
}

const GOALS: { readonly [N in Network]: number } = { controlnet: 0.8, adapter: 0.7 };
/** Adapters that the family promises; others are not missed. */
const ADAPTERS: readonly ControlMapKind[] = ['sketch', 'depth', 'segmentation'];
const EXHIBITED = 6;
/** What two maps together may cost each of them. */
const TOGETHER_GOAL = 0.9;

/** How well pictures follow their maps: each kind and network, two at once, and scales between 0 and 1. */
export async function control({ studio, ...rest }: ControlOptions): Promise<Findings> {
  const options = { ...rest, studio: withMemory(studio) };
  const found: Findings[] = [];
  for (const kind of CONTROL_MAPS) found.push(await kindFindings(kind, options));
  found.push(await together(['sketch', 'segmentation'], options));
  found.push(await scales('sketch', options));
  return { measures: found.flatMap(({ measures }) => measures), exhibits: found.flatMap(({ exhibits }) => exhibits) };
}

async function kindFindings(kind: ControlMapKind, options: ControlOptions): Promise<Findings> {
  const networks: readonly Network[] = ADAPTERS.includes(kind) ? ['controlnet', 'adapter'] : ['controlnet'];
  const without = await scoresOf(kind, [], options);
  const chance = mean(without.map(({ score }) => score));
  const ceiling = await ceilingOf(kind, options);
  const measures: Measure[] = [];
  const exhibits: Exhibit[] = [];
  for (const network of networks) {
    const name = `${kind}, ${network === 'controlnet' ? 'ControlNet' : 'T2I-Adapter'}: ${SCORE_NAMES[kind]}`;
    if (!(await isShipped(controlFolder(options.family, { network, kind })))) {
      measures.push(missing(name, GOALS[network].toFixed(2), `${network}-${kind}`));
      continue;
    }
    const results = await scoresOf(kind, [{ network, kind }], options);
    const seen = mean(results.map(({ score }) => score));
    const text = `${seen.toFixed(3)} (without: ${chance.toFixed(3)}, the drawn picture itself: ${ceiling.toFixed(3)})`;
    measures.push({
      ...judged(name, { seen, goal: GOALS[network], samples: results.length, text }),
      goal: GOALS[network].toFixed(2),
    });
    exhibits.push(await exhibitOf(`${network}-${kind}: map, picture`, kind, results.slice(0, EXHIBITED)));
  }
  return { measures, exhibits };
}

/** What the scenes' own pictures score: no map can be followed better than the reader sees. */
async function ceilingOf(kind: ControlMapKind, { critic, samples }: ControlOptions): Promise<number> {
  const scores: number[] = [];
  for (let seed = 0; seed < samples; seed++) {
    const scene = sceneOf(kind, seed);
    scores.push(await controlScore(kind, { pixels: (await renderScene(scene)).pixels, scene, critic }));
  }
  return mean(scores);
}

interface Scored {
  readonly scene: SceneDescription;
  readonly pixels: Uint8Array;
  readonly score: number;
}

/** Pictures of the evaluation's scenes under some networks, and how well they follow the map of `kind`. */
export async function scoresOf(
  kind: ControlMapKind,
  networks: readonly Omit<StudioControl, 'map'>[],
  { studio, critic, samples }: Omit<ControlOptions, 'family'>,
): Promise<Scored[]> {
  const results: Scored[] = [];
  for (let seed = 0; seed < samples; seed++) {
    const scene = sceneOf(kind, seed);
    const pixels = await studio.draw({
      prompt: plainPrompt(scene.described),
      seed,
      controls: await Promise.all(
        networks.map(async (one) => ({ ...one, map: await renderControlMap(scene, one.kind) })),
      ),
    });
    results.push({ scene, pixels, score: await controlScore(kind, { pixels, scene, critic }) });
  }
  return results;
}

function sceneOf(kind: ControlMapKind, seed: number): SceneDescription {
  return describeScene(seed, kind === 'pose' ? { noun: 'person' } : {});
}

async function exhibitOf(title: string, kind: ControlMapKind, results: readonly Scored[]): Promise<Exhibit> {
  const pairs = results.map(async ({ scene, pixels }) => [await renderControlMap(scene, kind), pixels]);
  return { title, pictures: (await Promise.all(pairs)).flat(), columns: 2 * EXHIBITED };
}

/** Two maps of one scene at once: each one's score beside what it reaches alone. */
async function together(kinds: readonly [ControlMapKind, ControlMapKind], options: ControlOptions): Promise<Findings> {
  const name = `two maps at once, ${kinds.join(' and ')}`;
  const networks = kinds.map((kind) => ({ network: 'controlnet', kind }) as const);
  const shipped = await Promise.all(networks.map((one) => isShipped(controlFolder(options.family, one))));
  if (shipped.includes(false))
    return {
      measures: [missing(name, '90 % of it alone', networks.map(({ kind }) => kind).join(' or '))],
      exhibits: [],
    };
  const measures = [];
  for (const kind of kinds) {
    const alone = mean((await scoresOf(kind, [{ network: 'controlnet', kind }], options)).map(({ score }) => score));
    const both = mean((await scoresOf(kind, networks, options)).map(({ score }) => score));
    const text = `${both.toFixed(3)}, alone ${alone.toFixed(3)}`;
    const share = both / Math.max(alone, 1e-6);
    measures.push({
      ...judged(`${name}: ${kind}`, { seen: share, goal: TOGETHER_GOAL, samples: options.samples, text }),
      goal: '90 % of it alone',
    });
  }
  return { measures, exhibits: [] };
}

/** Scale 0 must change nothing at all, and scale 0.5 must lie between nothing and 1. */
async function scales(kind: ControlMapKind, options: ControlOptions): Promise<Findings> {
  const network = { network: 'controlnet', kind } as const;
  if (!(await isShipped(controlFolder(options.family, network)))) {
    return { measures: [missing('control scale 0 and 0.5', 'exact / between', `controlnet-${kind}`)], exhibits: [] };
  }
  const few = { ...options, samples: Math.min(options.samples, MAX_SCALE_SAMPLES) };
  const [without, zero, half, whole] = [
    await scoresOf(kind, [], few),
    await scoresOf(kind, [{ ...network, scale: 0 }], few),
    await scoresOf(kind, [{ ...network, scale: 0.5 }], few),
    await scoresOf(kind, [network], few),
  ];
  const equal = zero.filter(({ pixels }, index) =>
    Buffer.from(pixels).equals(without[index]?.pixels ?? Buffer.alloc(0)),
  );
  const [none, middle, all] = [without, half, whole].map((results) => mean(results.map(({ score }) => score))) as [
    number,
    number,
    number,
  ];
  const isBetween = middle > none && middle < all;
  return {
    measures: [
      {
        ...judged('control scale 0 gives the pictures without control', {
          seen: equal.length / zero.length,
          goal: 1,
          samples: few.samples,
        }),
        goal: 'exact',
      },
      {
        name: 'control scale 0.5 lies between',
        goal: 'yes',
        seen: `${none.toFixed(3)}, ${middle.toFixed(3)}, ${all.toFixed(3)} at 0, 0.5, 1`,
        samples: few.samples,
        verdict: isBetween ? 'met' : 'missed',
      },
    ],
    exhibits: [],
  };
}

const MAX_SCALE_SAMPLES = 24;
