import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadLoraFile } from '../../../worker/diffusion/lora-file.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { requestedPlan } from '../../../worker/pipelines/requested-plan.ts';
import { completeSettings } from '../../../worker/training/complete-settings.ts';
import { traitsOf } from '../../../worker/training/default-settings.ts';
import { loraModulesOf } from '../../../worker/training/lora-modules.ts';
import { saveTinyPipeline } from '../../support/tiny-folder.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

test('a LoRA is kept with the share of its change that the settings name, in samples and in its file', async () => {
  const folder = await temporaryFolder();
  await saveTinyPipeline(folder);
  const model = await openModelFolder(folder);
  const kept = async (loraMultiplier: number) => {
    const given = { method: 'dreambooth-lora', classNoun: 'dog', loraRank: 2, loraAlpha: 3, loraMultiplier } as const;
    const settings = completeSettings(given, traitsOf(model));
    const plan = await requestedPlan({ model, settings, seed: 1 }, { hasPrior: false, hasMask: false });
    const values = await plan.loadInitial();
    const file = await plan.save(values, join(folder, `lora-${loraMultiplier}`));
    const sampled =
      plan
        .apply({ values, file, step: 0, tensors: new Map(), identity: { model: folder, seed: 1, settings } })
        .loras?.flatMap(({ weights }) => weights) ?? [];
    return { sampled, stored: await loadLoraFile(file, loraModulesOf(model)) };
  };
  const [whole, part] = [await kept(1), await kept(0.8)];
  expect(part.stored.length).toBeGreaterThan(0);
  for (const [i, one] of part.stored.entries()) {
    expect(whole.stored[i]!.scale).toBeCloseTo(3 / 2);
    expect(one.scale).toBeCloseTo((0.8 * 3) / 2);
    expect(one.down).toEqual(whole.stored[i]!.down);
  }
  expect(part.sampled.map(({ scale }) => scale)).toEqual(part.sampled.map(() => (0.8 * 3) / 2));
  expect(part.sampled).toHaveLength(part.stored.length);
});
