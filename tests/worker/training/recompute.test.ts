import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseClipTextConfig } from '../../../worker/networks/clip.ts';
import { parseControlnetConfig } from '../../../worker/networks/controlnet.ts';
import { parseT2iAdapterConfig } from '../../../worker/networks/t2i-adapter.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import type { SessionOptions } from '../../../worker/runtime/session.ts';
import { ADAMW_DEFAULTS } from '../../../worker/training/adamw.ts';
import {
  controlnetLesson,
  fineTuneLesson,
  type LessonOptions,
  loraLesson,
  t2iAdapterLesson,
  textualInversionLesson,
} from '../../../worker/training/lessons.ts';
import { ATTENTION_MODULES } from '../../../worker/training/lora-targets.ts';
import { initialState, type Lesson, Trainer } from '../../../worker/training/trainer.ts';
import { goldenCheckpoints, goldenFeeds, goldenValues } from '../../support/golden-lessons.ts';
import { temporaryFolder, tinyConfigs } from '../../support/tiny-models.ts';

const OPTIONS: LessonOptions = {
  unet: parseUnetConfig(tinyConfigs['unet-sd1']),
  target: 'epsilon',
  batch: 2,
  latentSide: 8,
  tokens: 77,
  vaeScaleFactor: 8,
  hasMask: false,
};
const STEPS = 2;

const lessons: Readonly<Record<string, () => Lesson>> = {
  'dreambooth-lora': () => loraLesson(OPTIONS, { loraRank: 4, loraAlpha: 4, loraTargetModules: ATTENTION_MODULES }),
  'fine-tune': () => fineTuneLesson(OPTIONS),
  controlnet: () => controlnetLesson(OPTIONS, parseControlnetConfig(tinyConfigs['controlnet-sd1'])),
  't2i-adapter': () => t2iAdapterLesson(OPTIONS, parseT2iAdapterConfig(tinyConfigs['t2i-full'])),
  'textual-inversion': () => {
    const config = parseClipTextConfig(tinyConfigs['clip-quickgelu']);
    return textualInversionLesson(OPTIONS, [{ component: 'text_encoder', config }], 2);
  },
};

/** Takes two steps and returns everything that they change. */
async function learn(lesson: Lesson, session: Partial<SessionOptions> = {}) {
  const options = { device: 'cpu', threads: 1, checkpoints: await goldenCheckpoints(lesson), ...session } as const;
  const trainer = await Trainer.create(lesson, ADAMW_DEFAULTS, options);
  const state = initialState(lesson.trainables, goldenValues(lesson.trainables));
  const feeds = goldenFeeds(lesson);
  const reports = await trainer.run(state, Array(STEPS).fill(feeds), Array(STEPS).fill(1e-3));
  await trainer.dispose();
  return { reports, vectors: state.vectors };
}

describe('activations that are computed again', () => {
  test.each(Object.keys(lessons))('give the very same lesson with %s', async (method) => {
    const kept = await learn(lessons[method]!());
    const again = await learn({ ...lessons[method]!(), isRecomputed: true });
    expect(kept.reports[1]!.loss).not.toBe(kept.reports[0]!.loss);
    expect(again.reports).toEqual(kept.reports);
    expect(again.vectors).toEqual(kept.vectors);
  });

  test('are computed twice by ONNX Runtime, the second time after the loss', async () => {
    const [kept, again] = [await convolutionsOf(false), await convolutionsOf(true)];
    expect(again.before).toBe(kept.before);
    // The last convolution belongs to no block; those that only move the result from block to block are not needed again.
    expect(again.after - kept.after).toBeGreaterThan(0.5 * kept.before);
  });
});

/** Convolutions per run that ONNX Runtime executes before and after the gradient of the loss is there. */
async function convolutionsOf(isRecomputed: boolean): Promise<{ before: number; after: number }> {
  const folder = await temporaryFolder();
  await learn({ ...lessons['dreambooth-lora']!(), isRecomputed }, { profilePrefix: join(folder, 'trace') });
  const [file] = await readdir(folder);
  const events = JSON.parse(await readFile(join(folder, file!), 'utf8')) as {
    name: string;
    ts: number;
    args?: { op_name?: string };
  }[];
  const nodes = events.filter(({ name }) => name.endsWith('_kernel_time')).sort((a, b) => a.ts - b.ts);
  const convs = nodes.flatMap(({ args }, i) => (args?.op_name === 'Conv' ? [i] : []));
  const firstGradient = nodes.findIndex(({ args }) => args?.op_name === 'ConvTranspose' || args?.op_name === 'Sigmoid');
  return {
    before: convs.filter((i) => i < firstGradient).length,
    after: convs.filter((i) => i > firstGradient).length,
  };
}
