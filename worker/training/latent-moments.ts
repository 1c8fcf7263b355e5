/** What a VAE's encoder says of pictures: means and log variances of their latents. */

export interface Moments {
  readonly data: Float32Array;
  /** [N, 2·C, H, W]: of each picture the means, then the log variances. */
  readonly dims: readonly number[];
}

/** The means times a factor, [N, C, H, W]. */
export function scaledMeans({ data, dims }: Moments, factor: number): Float32Array<ArrayBuffer> {
  const size = data.length / dims[0]! / 2;
  return Float32Array.from(
    { length: data.length / 2 },
    (_, i) => factor * data[Math.floor(i / size) * 2 * size + (i % size)]!,
  );
}

/**
 * The factor that brings samples of the latents to unit deviation: 1/√(E[μ² + σ²] - E[μ]²).
 * @see Rombach et al. 2022 (arXiv 2112.10752), appendix D.1
 */
export function scalingFactorOf(all: readonly Moments[]): number {
  let [count, sum, squares] = [0, 0, 0];
  for (const { data, dims } of all) {
    const size = data.length / dims[0]! / 2;
    data.forEach((value, i) => {
      if (Math.floor(i / size) % 2 === 1) squares += Math.exp(value);
      else {
        sum += value;
        squares += value ** 2;
        count++;
      }
    });
  }
  return 1 / Math.sqrt(squares / count - (sum / count) ** 2);
}
