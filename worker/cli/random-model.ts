import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { UserError } from '../../shared/errors.ts';
import { readJsonFile } from '../diffusion/network-folder.ts';
import { type RandomModelOptions, saveRandomModel, saveRandomNetwork } from '../models/random-model.ts';
import { expectedTensors } from '../pipelines/model-tensors.ts';
import { runCommand } from './run-command.ts';

const USAGE = `Usage: npm run random-model -- --from FOLDER --out FOLDER [--tokenizer FOLDER] [--dtype F32|F16|BF16]
  Makes a model of random weights in --out from the configuration files in --from, and beside it a ControlNet and a
  T2I-Adapter that fit it: --out/controlnet and --out/t2i_adapter.
  --tokenizer  folder with vocab.json and merges.txt, where --from has none`;

const DTYPES = ['F32', 'F16', 'BF16'] as const;

async function main(args: string[]): Promise<void> {
  const { from, out, tokenizer, dtype = 'F32' } = parseFlags(args);
  const stored = DTYPES.find((known) => known === dtype);
  if (from === undefined || out === undefined || stored === undefined) throw new UserError(USAGE);
  const options: RandomModelOptions = { dtype: stored, tokenizerFolder: tokenizer, expectedTensors };
  if (!existsSync(join(from, 'model_index.json'))) {
    throw new UserError(`Cannot make a random model: --from must hold model_index.json, got ${from}`);
  }
  console.error(`Making random weights in ${out}: gigabytes for a full-size model`);
  await saveRandomModel({ source: from, target: out }, await readJsonFile(join(from, 'model_index.json')), options);
  const unet = (await readJsonFile(join(from, 'unet', 'config.json'))) as Record<string, unknown>;
  await saveRandomNetwork(
    join(out, 'controlnet'),
    { config: { ...unet, in_channels: 4 }, className: 'ControlNetModel' },
    options,
  );
  await saveRandomNetwork(join(out, 't2i_adapter'), { config: adapterConfig(unet), className: 'T2IAdapter' }, options);
  console.log(`Made ${out}, ${join(out, 'controlnet')} and ${join(out, 't2i_adapter')}`);
}

/** The adapter that is published for a UNet's family, with the UNet's widths. */
function adapterConfig(unet: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const widths = unet['block_out_channels'] as number[];
  const isXl = unet['addition_embed_type'] === 'text_time';
  return {
    adapter_type: isXl ? 'full_adapter_xl' : 'full_adapter',
    channels: isXl ? [...widths, widths.at(-1)] : widths,
    downscale_factor: isXl ? 16 : 8,
    in_channels: 3,
    num_res_blocks: 2,
  };
}

function parseFlags(args: string[]) {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({ args, options: { from: text, out: text, tokenizer: text, dtype: text } }).values;
  } catch (error) {
    throw new UserError(`${error instanceof Error ? error.message : error}\n${USAGE}`, { cause: error });
  }
}

await runCommand(main);
