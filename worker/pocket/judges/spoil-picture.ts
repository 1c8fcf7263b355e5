import type { RandomGenerator } from '../../runtime/random.ts';

/**
 * Makes a drawn picture a little worse, as a VAE may: other brightness and contrast, softer edges, some noise. Judges that
 * learn from such pictures do not take a blur for something else.
 * @param planes  [3, side, side] in [-1, 1]
 */
export function spoilPicture(planes: Float32Array, side: number, generator: RandomGenerator): Float32Array {
  const [contrast, brightness, softness, noise] = generator.uniform(4) as unknown as [number, number, number, number];
  const gain = 0.88 + 0.24 * contrast;
  const offset = 0.12 * (brightness - 0.5);
  const soft = softened(planes, side, 0.7 * softness);
  const grain = generator.uniform(planes.length);
  return soft.map((value, i) => gain * value + offset + 0.16 * noise * (grain[i]! - 0.5));
}

/** Mixes each value with the mean of its four neighbours; the border repeats. */
function softened(planes: Float32Array, side: number, share: number): Float32Array {
  const soft = new Float32Array(planes.length);
  const last = side - 1;
  for (let i = 0; i < planes.length; i++) {
    const x = i % side;
    const y = Math.floor(i / side) % side;
    const across = planes[x > 0 ? i - 1 : i]! + planes[x < last ? i + 1 : i]!;
    const along = planes[y > 0 ? i - side : i]! + planes[y < last ? i + side : i]!;
    soft[i] = (1 - share) * planes[i]! + (share * (across + along)) / 4;
  }
  return soft;
}
