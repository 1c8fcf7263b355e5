import { float32Tensor, type SessionOptions, type Tensor } from '../../runtime/session.ts';
import { fullPlanes, halvedPlanes } from '../renderer/planes.ts';
import { SIDE } from '../renderer/world.ts';
import { mapReader, READ_SIDE } from './map-reader.ts';
import { JUDGED_SIDE, pictureJudgeWithFeatures, QUESTION_NAMES, QUESTIONS, type Question } from './picture-judge.ts';
import type { TrueMaps } from './true-maps.ts';
import { openJudge } from './weights.ts';

export type Answers = { readonly [Q in Question]: string };

/** Looks at pictures of the world, 128 x 128 x 3 bytes, with networks that have only ever seen drawn ones. */
export interface Critic {
  answers(pixels: Uint8Array): Promise<Answers>;
  /** What the answers come from, of length 1: pictures that look alike have a large product. */
  features(pixels: Uint8Array): Promise<Float32Array>;
  readMaps(pixels: Uint8Array): Promise<TrueMaps>;
  dispose(): Promise<void>;
}

/** Loads the shipped judges; must be disposed of. */
export async function openCritic(session: SessionOptions): Promise<Critic> {
  const judge = await openJudge('picture-judge', pictureJudgeWithFeatures, { ...session, side: JUDGED_SIDE });
  const reader = await openJudge('map-reader', mapReader, { ...session, side: READ_SIDE });
  const judged = (pixels: Uint8Array) => float32Tensor(fullPlanes(pixels), [1, 3, JUDGED_SIDE, JUDGED_SIDE]);
  const readable = (pixels: Uint8Array) => float32Tensor(halvedPlanes(pixels), [1, 3, READ_SIDE, READ_SIDE]);
  return {
    answers: async (pixels) => {
      const views: Record<string, Tensor>[] = [];
      for (const view of viewsOf(pixels)) views.push(await judge.run({ picture: judged(view) }));
      const best = (question: Question) =>
        bestAnswer(
          question,
          views.map((scores) => floats(scores[question])),
        );
      return Object.fromEntries(QUESTION_NAMES.map((question) => [question, best(question)])) as Answers;
    },
    features: async (pixels) => {
      const { features } = await judge.run({ picture: judged(pixels) });
      return unit(floats(features));
    },
    readMaps: async (pixels) => {
      const { ink, segments, depth } = await reader.run({ picture: readable(pixels) });
      return {
        ink: bestClasses(ink),
        segments: bestClasses(segments),
        depth: floats(depth),
      };
    },
    dispose: async () => {
      await judge.dispose();
      await reader.dispose();
    },
  };
}

/** The picture, its mirror image, and both moved a little: a judge that hesitates is right more often on the whole. */
function viewsOf(pixels: Uint8Array): Uint8Array[] {
  const mirrored = mirror(pixels);
  return [pixels, mirrored, moved(pixels, VIEW_SHIFT), moved(mirrored, VIEW_SHIFT)];
}

const VIEW_SHIFT = 3;

function mirror(pixels: Uint8Array): Uint8Array {
  return remapped(pixels, (x, y) => [SIDE - 1 - x, y]);
}

/** To the right and downwards by so many pixels; the border repeats. */
function moved(pixels: Uint8Array, by: number): Uint8Array {
  return remapped(pixels, (x, y) => [Math.max(0, x - by), Math.max(0, y - by)]);
}

function remapped(pixels: Uint8Array, source: (x: number, y: number) => [number, number]): Uint8Array {
  return pixels.map((_, index) => {
    const pixel = Math.floor(index / 3);
    const [x, y] = source(pixel % SIDE, Math.floor(pixel / SIDE));
    return pixels[3 * (y * SIDE + x) + (index % 3)]!;
  });
}

function bestAnswer(question: Question, views: readonly Float32Array[]): string {
  const answers: readonly string[] = QUESTIONS[question];
  const totals = answers.map((_, index) => views.reduce((sum, scores) => sum + scores[index]!, 0));
  return answers[totals.indexOf(Math.max(...totals))] ?? '';
}

/** The class with the highest score at each place. */
function bestClasses(scores: Tensor | undefined): Uint8Array {
  const values = floats(scores);
  const places = READ_SIDE * READ_SIDE;
  return Uint8Array.from({ length: places }, (_, place) => {
    let best = 0;
    for (let c = 1; c * places < values.length; c++) {
      if (values[c * places + place]! > values[best * places + place]!) best = c;
    }
    return best;
  });
}

function unit(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return vector.map((value) => value / length);
}

function floats(tensor: Tensor | undefined): Float32Array {
  if (tensor?.dtype !== 'float32')
    throw new Error(`Cannot read a judge: its scores must be float32, got ${tensor?.dtype}`);
  return tensor.data;
}
