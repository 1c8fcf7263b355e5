import { join } from 'node:path';
import { expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { flagsOf } from '../../../worker/cli/train-flags.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { CHAT_CHOICES } from '../../../worker/pipelines/lesson-job.ts';
import { checkMemory, estimateLesson } from '../../../worker/pipelines/lesson-memory.ts';
import type { TrainRequest } from '../../../worker/pipelines/train-request.ts';
import { completeSettings } from '../../../worker/training/complete-settings.ts';
import { traitsOf } from '../../../worker/training/default-settings.ts';
import type { TrainingMethod } from '../../../worker/training/settings.ts';
import { saveLargerStudent } from '../../support/tiny-lesson.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

/** Lessons of one model; memory is judged before photos are read. */
async function lessonsOf(folder: string): Promise<(method: TrainingMethod) => TrainRequest> {
  await saveLargerStudent(folder);
  const model = await openModelFolder(folder);
  return (method) => ({
    model,
    settings: completeSettings({ method, classNoun: 'dog' } as never, traitsOf(model)),
    seed: 1,
    instanceImages: 'photos',
    out: 'out',
    isResumed: false,
    classImageCache: 'cache',
    session: { device: 'cpu', threads: 1 },
    onMessage: () => undefined,
  });
}

test('a chat is told which method fits, the command line its flags, and neither what it cannot choose', async () => {
  const lesson = await lessonsOf(join(await temporaryFolder(), 'model'));
  const [whole, lora] = [lesson('dreambooth'), lesson('dreambooth-lora')];
  const [most, least] = await Promise.all([whole, lora].map(async (one) => (await estimateLesson(one)).totalBytes));
  expect(least).toBeLessThan(most!);
  const memoryLimitBytes = (most! + least!) / 2;
  const refusal = async (request: Partial<TrainRequest>) => {
    const error = await checkMemory({ ...whole, memoryLimitBytes, ...request }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UserError);
    return (error as UserError).message;
  };
  const forChat = await refusal({ choices: CHAT_CHOICES });
  expect(forChat).toMatch(/; what would fit: method: dreambooth-lora \([\d.]+ GiB\)$/);
  const forTerminal = await refusal({ choices: { say: flagsOf, otherwise: '' } });
  expect(forTerminal).toMatch(/; what would fit: .*--method dreambooth-lora \([\d.]+ GiB\)/);
  const forNone = await refusal({ choices: CHAT_CHOICES, memoryLimitBytes: 1 });
  expect(forNone).toMatch(
    /of memory, got one of about [\d.]+ GiB; a smaller model would, or a machine with more of it$/,
  );
});

test('a change is said as the flags that make it', () => {
  expect(flagsOf({ validationSteps: 0, gradientCheckpointing: true })).toBe(
    '--validation-steps 0 --gradient-checkpointing',
  );
  expect(flagsOf({ trainBatchSize: 1, gradientAccumulationSteps: 1, method: 'dreambooth-lora' })).toBe(
    '--train-batch-size 1 --gradient-accumulation-steps 1 --method dreambooth-lora',
  );
});
