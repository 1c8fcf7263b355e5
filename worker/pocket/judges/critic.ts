import { float32Tensor, type SessionOptions, type Tensor } from '../../runtime/session.ts';
import { halvedPlanes } from './judge-pictures.ts';
import { mapReader, READ_SIDE } from './map-reader.ts';
import { JUDGED_SIDE, pictureJudge, QUESTION_NAMES, QUESTIONS, type Question } from './picture-judge.ts';
import type { TrueMaps } from './true-maps.ts';
import { openJudge } from './weights.ts';

export type Answers = { readonly [Q in Question]: string };

/** Looks at pictures of the world, 128 x 128 x 3 bytes, with networks that have only ever seen drawn ones. */
export interface Critic {
  answers(pixels: Uint8Array): Promise<Answers>;
  readMaps(pixels: Uint8Array): Promise<TrueMaps>;
  dispose(): Promise<void>;
}

/** Loads the shipped judges; must be disposed of. */
export async function openCritic(session: SessionOptions): Promise<Critic> {
  const judge = await openJudge('picture-judge', pictureJudge, { ...session, side: JUDGED_SIDE });
  const reader = await openJudge('map-reader', mapReader, { ...session, side: READ_SIDE });
  const feeds = (pixels: Uint8Array) => ({
    picture: float32Tensor(halvedPlanes(pixels), [1, 3, JUDGED_SIDE, JUDGED_SIDE]),
  });
  return {
    answers: async (pixels) => {
      const scores = await judge.run(feeds(pixels));
      return Object.fromEntries(
        QUESTION_NAMES.map((question) => [question, bestAnswer(question, scores[question])]),
      ) as Answers;
    },
    readMaps: async (pixels) => {
      const { ink, segments, limbs, depth } = await reader.run(feeds(pixels));
      return {
        ink: bestClasses(ink),
        segments: bestClasses(segments),
        limbs: bestClasses(limbs),
        depth: floats(depth),
      };
    },
    dispose: async () => {
      await judge.dispose();
      await reader.dispose();
    },
  };
}

function bestAnswer(question: Question, scores: Tensor | undefined): string {
  const values = floats(scores);
  return QUESTIONS[question][values.indexOf(Math.max(...values))] ?? '';
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

function floats(tensor: Tensor | undefined): Float32Array {
  if (tensor?.dtype !== 'float32')
    throw new Error(`Cannot read a judge: its scores must be float32, got ${tensor?.dtype}`);
  return tensor.data;
}
