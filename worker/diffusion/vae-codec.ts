import type { Dtype } from '../graph/value.ts';
import type { VaeConfig } from '../networks/vae.ts';
import { describeVaeDecoder, describeVaeEncoder, VAE_COMPONENT } from '../networks/vae-graph.ts';
import { compile } from '../runtime/compile.ts';
import { OnDemand } from '../runtime/on-demand.ts';
import { float32Tensor, type Session, type SessionOptions, type Tensor } from '../runtime/session.ts';
import type { NetworkFolder } from './network-folder.ts';
import type { Randn } from './schedulers/scheduler.ts';
import { blendTiles, cropTile, type Plane, tileOrigins } from './tiles.ts';

export interface VaeCodecOptions extends SessionOptions {
  readonly dtype: Dtype;
  /**
   * Side in pixels of the tiles that larger pictures are cut into, which bounds the memory; undefined for whole
   * pictures.
   */
  readonly tileSampleSize?: number | undefined;
}

/** Share of a tile that overlaps its neighbour. */
const TILE_OVERLAP = 0.25;

/** Encoder and decoder of a VAE, each loaded when it is first needed; must be disposed of. */
export class VaeCodec {
  readonly config: VaeConfig;
  readonly #vae: NetworkFolder<VaeConfig>;
  readonly #options: VaeCodecOptions;
  readonly #encoder: OnDemand<Session>;
  readonly #decoder: OnDemand<Session>;

  constructor(vae: NetworkFolder<VaeConfig>, options: VaeCodecOptions) {
    this.#vae = vae;
    this.config = vae.config;
    this.#options = options;
    this.#encoder = new OnDemand(() => this.#compile(describeVaeEncoder(vae.config, options.dtype)));
    this.#decoder = new OnDemand(() => this.#compile(describeVaeDecoder(vae.config, options.dtype)));
  }

  /**
   * Encodes a picture to a sample of its posterior times the scaling factor.
   * @param image  [1, 3, H, W] in [-1, 1]; H and W multiples of vaeScaleFactor
   * @returns latents [1, latentChannels, H/f, W/f]
   */
  async encode(image: Tensor, randn: Randn): Promise<Tensor> {
    const { data, dims } = await this.encodeMoments(image);
    const half = data.length / 2;
    const noise = randn(half);
    const latents = Float32Array.from({ length: half }, (_, i) => {
      const logVariance = Math.min(20, Math.max(-30, Number(data[half + i])));
      return (Number(data[i]) + Math.exp(0.5 * logVariance) * noise[i]!) * this.config.scalingFactor;
    });
    return float32Tensor(latents, [1, this.config.latentChannels, dims[2]!, dims[3]!]);
  }

  /** @returns moments [1, 2·latentChannels, H/f, W/f]: means, then log variances */
  async encodeMoments(image: Tensor): Promise<Tensor> {
    const session = await this.#encoder.get();
    return this.#inTiles(image, {
      tileSize: this.#options.tileSampleSize,
      ratio: 1 / this.config.vaeScaleFactor,
      run: async (tile) => (await session.run({ image: tile }))['moments']!,
    });
  }

  /**
   * Decodes latents as the denoiser leaves them.
   * @param latents  [1, latentChannels, H, W]
   * @returns image [1, 3, f·H, f·W], about [-1, 1]
   */
  async decode(latents: Tensor): Promise<Tensor> {
    const session = await this.#decoder.get();
    const scaled = Float32Array.from(latents.data as Float32Array, (value) => value / this.config.scalingFactor);
    const { tileSampleSize } = this.#options;
    return this.#inTiles(float32Tensor(scaled, latents.dims), {
      tileSize: tileSampleSize === undefined ? undefined : Math.trunc(tileSampleSize / this.config.vaeScaleFactor),
      ratio: this.config.vaeScaleFactor,
      run: async (tile) => (await session.run({ latents: tile }))['image']!,
    });
  }

  async dispose(): Promise<void> {
    await this.#encoder.dispose();
    await this.#decoder.dispose();
  }

  #compile(outputs: Parameters<typeof compile>[0]): Promise<Session> {
    const { dtype: _, tileSampleSize: __, ...options } = this.#options;
    return compile(outputs, { ...options, checkpoints: { [VAE_COMPONENT]: this.#vae.checkpoint } });
  }

  /** @see diffusers, AutoencoderKL._tiled_encode and tiled_decode */
  async #inTiles(
    input: Tensor,
    { tileSize, ratio, run }: { tileSize: number | undefined; ratio: number; run: (tile: Tensor) => Promise<Tensor> },
  ): Promise<Tensor> {
    const [, channels, height, width] = input.dims as [number, number, number, number];
    if (tileSize === undefined || (height <= tileSize && width <= tileSize)) return run(input);
    const stride = Math.trunc(tileSize * (1 - TILE_OVERLAP));
    const outTile = Math.trunc(tileSize * ratio);
    const blend = Math.trunc(outTile * TILE_OVERLAP);
    const plane: Plane = { channels, height, width, data: input.data as Float32Array };
    const rows: Plane[][] = [];
    for (const top of tileOrigins(height, stride)) {
      const row: Plane[] = [];
      for (const left of tileOrigins(width, stride)) {
        const tile = cropTile(plane, { top, left, height: tileSize, width: tileSize });
        const result = await run(float32Tensor(tile.data, [1, tile.channels, tile.height, tile.width]));
        const [, outChannels, outHeight, outWidth] = result.dims as [number, number, number, number];
        row.push({ channels: outChannels, height: outHeight, width: outWidth, data: result.data as Float32Array });
      }
      rows.push(row);
    }
    const joined = blendTiles(rows, { blend, keep: outTile - blend });
    return float32Tensor(joined.data, [1, joined.channels, joined.height, joined.width]);
  }
}
