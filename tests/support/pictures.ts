import sharp from 'sharp';

/** A PNG of one colour. */
export async function plainPng(color: string, size = 64): Promise<Uint8Array> {
  return sharp({ create: { width: size, height: size, channels: 3, background: color } })
    .png()
    .toBuffer();
}

/** A PNG of noise, which does not get smaller by packing: about 3 bytes a pixel. */
export async function noisePng(size: number): Promise<Uint8Array> {
  const noise = { type: 'gaussian' as const, mean: 128, sigma: 60 };
  return sharp({ create: { width: size, height: size, channels: 3, background: 'black', noise } })
    .png({ compressionLevel: 0 })
    .toBuffer();
}
