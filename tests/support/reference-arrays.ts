/** Arrays of numbers and the plainest way to compute with them: what results of graphs are held to. */

export interface NumberArray {
  readonly dims: readonly number[];
  /** Row-major. */
  readonly data: readonly number[];
}

/** Makes an array from its value at each index. */
export function array(
  dims: readonly number[],
  value: (...index: [number, number, number, number]) => number,
): NumberArray {
  const count = dims.reduce((product, dim) => product * dim, 1);
  const data = Array.from({ length: count }, (_, position) => {
    const index = [0, 0, 0, 0] as [number, number, number, number];
    let rest = position;
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      index[axis] = rest % dims[axis]!;
      rest = Math.floor(rest / dims[axis]!);
    }
    return value(...index);
  });
  return { dims, data };
}

/** Reads one value; an axis of length 1 is read at 0 whatever the index, as broadcasting does. */
export function at({ dims, data }: NumberArray, ...index: readonly number[]): number {
  return data[dims.reduce((position, dim, axis) => position * dim + (dim === 1 ? 0 : index[axis]!), 0)]!;
}

export function sum(count: number, term: (i: number) => number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += term(i);
  return total;
}

interface AttentionOptions {
  readonly numHeads: number;
  readonly bias: (n: number, head: number, position: number, other: number) => number;
}

/** softmax(q·kᵀ/√d + bias)·v per head, where the context [N, T, C] is both key and value. */
export function attention(query: NumberArray, context: NumberArray, { numHeads, bias }: AttentionOptions): NumberArray {
  const [, , features] = query.dims as [number, number, number];
  const length = context.dims[1]!;
  const size = features / numHeads;
  return array(query.dims, (n, position, feature) => {
    const head = Math.floor(feature / size);
    const scores = Array.from({ length }, (_, other) => {
      const dot = sum(size, (i) => at(query, n, position, head * size + i) * at(context, n, other, head * size + i));
      return dot / Math.sqrt(size) + bias(n, head, position, other);
    });
    const largest = Math.max(...scores);
    const shares = scores.map((score) => Math.exp(score - largest));
    const total = shares.reduce((a, b) => a + b);
    return sum(length, (other) => (shares[other]! / total) * at(context, n, other, feature));
  });
}

/** Cross-correlation of x [N, C, H, W] with a kernel [M, C, kH, kW]; pads are top, left, bottom, right. */
export function conv(
  x: NumberArray,
  kernel: NumberArray,
  { strides, pads }: { strides: readonly [number, number]; pads: readonly [number, number, number, number] },
): NumberArray {
  const [batch, channels, height, width] = x.dims as [number, number, number, number];
  const [out, , kernelHeight, kernelWidth] = kernel.dims as [number, number, number, number];
  const [top, left, bottom, right] = pads;
  const rows = Math.floor((height + top + bottom - kernelHeight) / strides[0]) + 1;
  const columns = Math.floor((width + left + right - kernelWidth) / strides[1]) + 1;
  return array([batch, out, rows, columns], (n, m, row, column) =>
    sum(channels, (c) =>
      sum(kernelHeight, (dy) =>
        sum(kernelWidth, (dx) => {
          const [y, z] = [row * strides[0] + dy - top, column * strides[1] + dx - left];
          const isInside = y >= 0 && y < height && z >= 0 && z < width;
          return isInside ? at(x, n, c, y, z) * at(kernel, m, c, dy, dx) : 0;
        }),
      ),
    ),
  );
}
