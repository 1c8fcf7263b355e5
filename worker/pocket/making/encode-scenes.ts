import { type NetworkFolder, openNetwork } from '../../diffusion/network-folder.ts';
import type { Bitmap } from '../../diffusion/resize.ts';
import { VaeCodec } from '../../diffusion/vae-codec.ts';
import { vaeClass } from '../../networks/network-classes.ts';
import type { VaeConfig } from '../../networks/vae.ts';
import { float32Tensor, type SessionOptions } from '../../runtime/session.ts';
import { trainingPicture } from './scenes.ts';

/** Pictures that are encoded together. */
export const ENCODED_TOGETHER = 16;

/** The picture of an index, RGB. */
export type DrawPicture = (index: number) => Promise<Bitmap>;

/** Opens a VAE that encodes the family's training pictures, or those that `draw` makes; must be disposed of. */
export async function openSceneEncoder(folder: string, session: SessionOptions, draw: DrawPicture = trainingPicture) {
  const vae: NetworkFolder<VaeConfig> = await openNetwork(folder, vaeClass);
  const codec = new VaeCodec(vae, { ...session, dtype: 'float32' });
  return {
    config: vae.config,
    /** Means and log variances of the pictures from `first` to before `end`, [N, 2·latentChannels, H, W]. */
    moments: async (first: number, end: number) => {
      const indices = Array.from({ length: end - first }, (_, i) => first + i);
      const pictures = await Promise.all(indices.map(draw));
      const { data, dims } = await codec.encodeMoments(imageOf(pictures));
      return { data: data as Float32Array, dims };
    },
    dispose: () => codec.dispose(),
  };
}

/** @returns [N, 3, H, W] in [-1, 1] */
function imageOf(pictures: readonly Bitmap[]) {
  const { width, height } = pictures[0]!;
  const area = width * height;
  const data = new Float32Array(pictures.length * 3 * area);
  pictures.forEach(({ bytes }, i) => {
    for (let at = 0; at < area; at++) {
      for (let channel = 0; channel < 3; channel++) {
        data[(i * 3 + channel) * area + at] = bytes[at * 3 + channel]! / 127.5 - 1;
      }
    }
  });
  return float32Tensor(data, [pictures.length, 3, height, width]);
}
