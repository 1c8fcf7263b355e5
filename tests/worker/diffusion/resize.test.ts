import { expect, test } from 'vitest';
import { type Bitmap, resize } from '../../../worker/diffusion/resize.ts';

function pattern(width: number, height: number): Bitmap {
  const bytes = Uint8Array.from({ length: 3 * width * height }, (_, index) => {
    const [x, y] = [Math.floor(index / 3) % width, Math.floor(index / (3 * width))];
    return x * x * 37 + y * 91 + (index % 3) * 53 + x * y * 11;
  });
  return { width, height, channels: 3, bytes };
}

// Computed by Pillow 13.0.0: resize((width, from[1]), LANCZOS), then resize(to, LANCZOS).
const cases: { from: [number, number]; to: [number, number]; bytes: number[] }[] = [
  {
    from: [5, 4],
    to: [8, 3],
    bytes: [
      8, 58, 143, 21, 88, 158, 54, 136, 189, 91, 148, 212, 113, 167, 188, 122, 178, 139, 125, 123, 133, 127, 86, 144,
      142, 212, 109, 189, 172, 133, 200, 110, 171, 84, 95, 180, 48, 147, 150, 128, 190, 115, 158, 128, 121, 153, 76,
      136, 60, 117, 75, 82, 115, 110, 140, 94, 154, 210, 62, 147, 203, 119, 111, 150, 202, 89, 161, 132, 108, 188, 54,
      128,
    ],
  },
  {
    from: [40, 30],
    to: [4, 6],
    bytes: [
      123, 134, 128, 102, 114, 144, 123, 123, 132, 146, 131, 104, 127, 134, 122, 126, 128, 141, 126, 128, 144, 129, 138,
      118, 126, 136, 115, 139, 141, 135, 131, 122, 143, 108, 127, 150, 120, 125, 133, 130, 137, 127, 127, 134, 112, 141,
      133, 137, 135, 119, 136, 139, 134, 146, 130, 139, 118, 127, 140, 133, 123, 124, 139, 93, 119, 144, 132, 120, 131,
      136, 141, 140,
    ],
  },
];

test.each(cases)('resizing $from to $to gives the bytes of Pillow', ({ from, to, bytes }) => {
  const resized = resize(pattern(from[0], from[1]), { width: to[0], height: to[1] });
  expect([resized.width, resized.height]).toEqual(to);
  expect([...resized.bytes]).toEqual(bytes);
});

test('resizing keeps the bytes when the size stays and a flat picture flat at any size', () => {
  const bitmap = pattern(9, 7);
  expect(resize(bitmap, { width: 9, height: 7 }).bytes).toEqual(bitmap.bytes);
  const flat: Bitmap = { width: 9, height: 7, channels: 1, bytes: new Uint8Array(63).fill(201) };
  expect(new Set(resize(flat, { width: 31, height: 2 }).bytes)).toEqual(new Set([201]));
});
