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

/** Mixes each value with the mean of its four neighbours. */
function softened(planes: Float32Array, side: number, share: number): Float32Array {
  const area = side * side;
  return planes.map((value, i) => {
    const x = i % side;
    const y = Math.floor((i % area) / side);
    const left = planes[x > 0 ? i - 1 : i]!;
    const right = planes[x < side - 1 ? i + 1 : i]!;
    const above = planes[y > 0 ? i - side : i]!;
    const below = planes[y < side - 1 ? i + side : i]!;
    return (1 - share) * value + (share * (left + right + above + below)) / 4;
  });
}
