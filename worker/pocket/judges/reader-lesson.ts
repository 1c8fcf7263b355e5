import { add, constant, input, mul, reduceMean, reshape, sub, transpose } from '../../graph/operators.ts';
import { Scope } from '../../graph/scope.ts';
import type { Value } from '../../graph/value.ts';
import { RandomGenerator } from '../../runtime/random.ts';
import { float32Tensor, int64Tensor } from '../../runtime/session.ts';
import { freshWeights } from '../../training/fresh-weights.ts';
import { learnEverything } from '../../training/learning.ts';
import { picturePool } from '../../training/picture-stream.ts';
import { stepGenerator } from '../../training/samples.ts';
import type { PartLesson } from '../making/run-part.ts';
import { SEGMENTS } from '../renderer/control-maps.ts';
import { halvedPlanes } from '../renderer/planes.ts';
import { renderScene } from '../renderer/render-scene.ts';
import { describeScene } from '../renderer/scene.ts';
import { crossEntropy } from './cross-entropy.ts';
import { type JudgeRound, oneHot, stack } from './judge-lesson.ts';
import { FIRST_JUDGE_SEED } from './judge-pictures.ts';
import { INK_CLASSES, mapReader, READ_SIDE } from './map-reader.ts';
import { spoilPicture } from './spoil-picture.ts';
import { type TrueMaps, trueMaps } from './true-maps.ts';

const BATCH = 8;
const SEED = 2;
const AREA = READ_SIDE * READ_SIDE;
const POOL = { poolSize: 256, freshPerStep: 4 } as const;
/** Squared differences of depth are small beside the losses of classes. */
const DEPTH_WEIGHT = 10;

interface ReadPicture {
  readonly picture: Float32Array;
  readonly maps: TrueMaps;
}

/** The lesson of the reader: the exact maps of drawn scenes. */
export function readerLesson({ steps, learningRate, firstScene, start }: JudgeRound): PartLesson {
  const learning = learnEverything();
  const scope = new Scope({ name: 'reader', dtype: 'float32', substitute: learning.substitute });
  const picture = input('picture', { shape: [BATCH, 3, READ_SIDE, READ_SIDE], dtype: 'float32' });
  const read = mapReader(scope, picture);
  const labels = (name: string) => input(name, { shape: [BATCH * AREA], dtype: 'int64' });
  const [ink, segments] = [labels('ink'), labels('segments')];
  const depth = input('depth', { shape: [BATCH, 1, READ_SIDE, READ_SIDE], dtype: 'float32' });
  const losses = [
    crossEntropy(places(read.ink), oneHot(ink, INK_CLASSES)),
    crossEntropy(places(read.segments), oneHot(segments, SEGMENTS.length)),
    mul(squaredError(read.depth, depth), constant([DEPTH_WEIGHT], [], 'float32')),
  ];
  const pool = picturePool({ ...POOL, make: (index) => readPicture(firstScene + index) });
  return {
    lesson: {
      trainables: learning.trainables,
      loss: losses.reduce(add),
      perStep: [picture, ink, segments, depth],
      reported: {},
    },
    initial: start ?? freshWeights(learning.trainables, { generator: new RandomGenerator(SEED) }),
    checkpoints: {},
    rate: { learningRate, lrScheduler: 'cosine', lrWarmupSteps: 30, maxTrainSteps: steps },
    key: `pocket map reader ${firstScene} ${steps}`,
    feeds: async (step) => stepFeeds(await pool(step), stepGenerator(SEED, step)),
  };
}

async function readPicture(index: number): Promise<ReadPicture> {
  const scene = describeScene(FIRST_JUDGE_SEED + index);
  const { pixels } = await renderScene(scene);
  return { picture: halvedPlanes(pixels), maps: await trueMaps(scene) };
}

function stepFeeds(pictures: readonly ReadPicture[], generator: RandomGenerator) {
  const chosen = Array.from({ length: BATCH }, () => pictures[generator.randint(pictures.length)]!);
  const depth = Float32Array.from(chosen.flatMap(({ maps }) => [...maps.depth]));
  return {
    picture: stack(
      chosen.map((one) => spoilPicture(one.picture, READ_SIDE, generator)),
      READ_SIDE,
    ),
    ink: int64Tensor(
      chosen.flatMap(({ maps }) => [...maps.ink]),
      [BATCH * AREA],
    ),
    segments: int64Tensor(
      chosen.flatMap(({ maps }) => [...maps.segments]),
      [BATCH * AREA],
    ),
    depth: float32Tensor(depth, [BATCH, 1, READ_SIDE, READ_SIDE]),
  };
}

/** [N, C, H, W] as [N·H·W, C]. */
function places(scores: Value): Value {
  const classes = Number(scores.shape[1]);
  return reshape(transpose(scores, [0, 2, 3, 1]), [BATCH * AREA, classes]);
}

function squaredError(a: Value, b: Value): Value {
  const difference = sub(a, b);
  return reshape(reduceMean(mul(difference, difference), [0, 1, 2, 3]), []);
}
