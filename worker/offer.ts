import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Config } from '../shared/config.ts';
import type { WorkerOffer } from '../shared/queue.ts';
import { controlNetworksOf } from './models/control-networks.ts';
import { listModels } from './models/registry.ts';

const unetSchema = z.object({ sample_size: z.number().default(64) });

/** What a worker can do, from the folders that it finds; only configurations are read. */
export async function offerOf(
  config: Config,
  about: Pick<WorkerOffer, 'name' | 'device' | 'loaded'>,
): Promise<WorkerOffer> {
  // A folder that is being filled has an index before it has a UNet.
  const pipelines = (await listModels(config)).filter(({ folder }) =>
    ['model_index.json', join('unet', 'config.json')].every((file) => existsSync(join(folder, file))),
  );
  const models = await Promise.all(
    pipelines.map(async ({ name, folder }) => {
      const { sample_size } = unetSchema.parse(JSON.parse(await readFile(join(folder, 'unet', 'config.json'), 'utf8')));
      // Every published Stable Diffusion has 8 pixels per latent.
      return { name, width: 8 * sample_size, height: 8 * sample_size };
    }),
  );
  const controls = await Promise.all(
    pipelines.map(async (model) =>
      (await controlNetworksOf(model, config)).map(({ kind, method }) => ({ model: model.name, kind, method })),
    ),
  );
  return { ...about, models, controls: controls.flat() };
}
