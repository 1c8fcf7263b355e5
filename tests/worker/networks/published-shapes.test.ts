import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { networkClasses } from '../../../worker/networks/network-classes.ts';
import { publishedConfigs } from '../../support/published-configs.ts';

/** Lines of "name [dims]". */
async function publishedShapes(file: string): Promise<Map<string, string>> {
  const text = await readFile(join(import.meta.dirname, '..', '..', 'golden', 'shapes', `${file}.txt`), 'utf8');
  const lines = text.split('\n').filter((line) => line.includes(' ['));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1).trim()]));
}

function expectedShapes(className: keyof typeof networkClasses, config: unknown): Map<string, string> {
  // Each class takes the configuration that its own parser made.
  const { parseConfig, tensorShapes } = networkClasses[className] as (typeof networkClasses)['UNet2DConditionModel'];
  const shapes = tensorShapes(parseConfig(config, 'config.json'));
  return new Map([...shapes].map(([name, shape]) => [name, `[${shape.join(', ')}]`]));
}

const sorted = (map: Map<string, string>) => [...map].map(([name, shape]) => `${name} ${shape}`).sort();

// The lists were dumped from the classes of diffusers 0.40.0.dev0 and transformers 5.18.0 at full size.
test.each([
  ['unet_sd1', 'UNet2DConditionModel', publishedConfigs.unetSd1, ''],
  ['unet_sd1_inpaint', 'UNet2DConditionModel', { ...publishedConfigs.unetSd1, in_channels: 9 }, ''],
  ['unet_sd2', 'UNet2DConditionModel', publishedConfigs.unetSd2, ''],
  ['unet_xl', 'UNet2DConditionModel', publishedConfigs.unetXl, ''],
  ['unet_lcm', 'UNet2DConditionModel', { ...publishedConfigs.unetSd1, time_cond_proj_dim: 256 }, ''],
  ['vae', 'AutoencoderKL', publishedConfigs.vae, ''],
  ['te_sd1', 'CLIPTextModel', publishedConfigs.textEncoderSd1, 'text_model.'],
  ['te_sd2', 'CLIPTextModel', publishedConfigs.textEncoderSd2, 'text_model.'],
  ['te_xl2', 'CLIPTextModelWithProjection', publishedConfigs.textEncoderXl2, ''],
  ['cn_sd1', 'ControlNetModel', publishedConfigs.unetSd1, ''],
  ['cn_sd2', 'ControlNetModel', publishedConfigs.unetSd2, ''],
  ['cn_xl', 'ControlNetModel', publishedConfigs.unetXl, ''],
  ['t2i_full', 'T2IAdapter', publishedConfigs.t2iFull, ''],
  ['t2i_full1', 'T2IAdapter', { ...publishedConfigs.t2iFull, in_channels: 1 }, ''],
  ['t2i_xl', 'T2IAdapter', publishedConfigs.t2iXl, ''],
  ['t2i_light', 'T2IAdapter', publishedConfigs.t2iLight, ''],
  ['safety', 'StableDiffusionSafetyChecker', publishedConfigs.safetyChecker, 'vision_model.'],
] as const)('the loader asks for exactly the tensors of %s', async (file, className, config, prefix) => {
  const published = await publishedShapes(file);
  const named = [...published].map(([name, shape]) => {
    // The dumps leave out prefixes that published files have.
    const isPrefixed = file === 'safety' ? name.startsWith('vision_model.') : true;
    return [isPrefixed ? prefix + name : name, shape] as const;
  });
  expect(sorted(expectedShapes(className, config))).toEqual(sorted(new Map(named)));
});
