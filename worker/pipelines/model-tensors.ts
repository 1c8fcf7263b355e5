import { join } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import { type ModelFolder, openModelFolder } from '../diffusion/model-folder.ts';
import { readJsonFile } from '../diffusion/network-folder.ts';
import { type NetworkClass, networkClasses } from '../networks/network-classes.ts';
import type { Checkpoint, CheckpointRules } from '../runtime/checkpoint.ts';

/**
 * The tensors that the network in a folder must have, by its configuration.
 * @throws UserError if no network of this class can be run
 */
export async function expectedTensors({
  folder,
  className,
}: {
  folder: string;
  className: string;
}): Promise<CheckpointRules> {
  if (!isNetworkClass(className)) {
    const known = Object.keys(networkClasses).join(', ');
    throw new UserError(`Cannot check ${folder}: its class must be one of ${known}, got ${className}`);
  }
  // The configuration goes from the class's own parser back to the same class.
  const { parseConfig, tensorShapes, currentName } = networkClasses[className] as NetworkClass<unknown>;
  const file = join(folder, 'config.json');
  return { expected: tensorShapes(parseConfig(await readJsonFile(file), file)), currentName };
}

function isNetworkClass(className: string): className is keyof typeof networkClasses {
  return Object.hasOwn(networkClasses, className);
}

export interface MemoryEstimate {
  readonly device: 'cpu' | 'cuda';
  readonly computeDtype: 'float32' | 'float16';
  readonly bytes: number;
}

/**
 * Estimates the memory that a picture of the model's own size needs at its peak: the weights of all networks in the
 * compute dtype, and the feature maps of a guided UNet step and of the VAE decoder. SD 1.5 at 512 x 512 on the CPU: 6.3 GB
 * estimated, 6.3 GB measured (VmHWM).
 */
export async function pictureMemoryBytes(folder: string): Promise<MemoryEstimate[]> {
  const { unet, vae, textEncoders } = await openModelFolder(folder);
  const parameters = [unet, vae, ...textEncoders].reduce((sum, { checkpoint }) => sum + parameterCount(checkpoint), 0);
  const numbers = parameters + pictureMaps({ unet, vae }, unet.config.sampleSize ?? 64);
  return [
    { device: 'cpu', computeDtype: 'float32', bytes: PROCESS_BYTES + 4 * numbers },
    { device: 'cuda', computeDtype: 'float16', bytes: 2 * numbers },
  ];
}

const STORED_BYTES = { F32: 4, F16: 2, BF16: 2 } as const;

/** Numbers in the weights of a network. */
export function parameterCount({ parameters }: Checkpoint): number {
  return [...parameters.values()].reduce((sum, { sizeBytes, dtype }) => sum + sizeBytes / STORED_BYTES[dtype], 0);
}

/**
 * Numbers in the feature maps of a guided UNet step and of the VAE decoder for a square picture. Each session keeps the
 * memory of its largest run, so that the two add up.
 */
export function pictureMaps({ unet, vae }: Pick<ModelFolder, 'unet' | 'vae'>, latentSide: number): number {
  // Sums of the widest feature maps alive at once, in numbers per pixel or latent; measured on SD 1.5 at 512 x 512.
  const unetMaps = 2 * latentSide ** 2 * unet.config.blockOutChannels[0]! * UNET_LIVE_MAPS;
  const pixels = (latentSide * vae.config.vaeScaleFactor) ** 2;
  const vaeMaps = pixels * (vae.config.blockOutChannels[1] ?? vae.config.blockOutChannels[0]!) * VAE_LIVE_MAPS;
  return unetMaps + vaeMaps;
}

const UNET_LIVE_MAPS = 60;
const VAE_LIVE_MAPS = 4.5;
const PROCESS_BYTES = 200 * 2 ** 20;
