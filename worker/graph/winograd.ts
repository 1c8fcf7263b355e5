/**
 * 3 x 3 convolutions by Winograd's minimal filtering: a 4 x 4 tile of the output costs 36 products per pair of
 * channels instead of 144, as one batched matrix product between linear transforms of weights, input and output.
 */
import { addDims, type Dim, equalDims, floorDivideDim, multiplyDims } from './dim.ts';
import type { Lowering } from './lowering.ts';
import { int, ints, string } from './onnx-graph.ts';
import type { ConvAttributes, Value } from './value.ts';

export interface WinogradConvolution {
  /** [M, C, 3, 3]. */
  readonly weight: Value;
  /** [M]. */
  readonly bias: Value | undefined;
}

/** The matrices of Y = Aᵀ[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]A for a tile d of the input and a kernel g. */
export interface WinogradMatrices {
  /** Aᵀ, [4, 6]. */
  readonly outputTransform: Matrix;
  /** G, [6, 3]. */
  readonly kernelTransform: Matrix;
  /** Bᵀ, [6, 6]. */
  readonly inputTransform: Matrix;
}

type Matrix = readonly (readonly number[])[];

/**
 * Side of an output tile, m. A tile of 4 takes a quarter of the direct products; in float32 its result is within 3e-6
 * of the direct one, relative to the rms, for 320 to 1280 channels. A tile of 2 is ten times as exact, but takes 4/9.
 */
const TILE = 4;
const SIDE = TILE + 2;

/** Finite interpolation points; the last point is infinity. Small powers of two keep B and A exact. */
const POINTS = [0, 1, -1, 2, -2];

/**
 * Derives F(4 x 4, 3 x 3) by Toom-Cook interpolation.
 * @see Lavin and Gray 2015 (arXiv 1509.09308), eq. 8; Barabasz et al. 2018 (arXiv 1803.10986), algorithm 1
 */
export function winogradMatrices(): WinogradMatrices {
  const others = POINTS.map((point) => POINTS.filter((other) => other !== point));
  return {
    outputTransform: [0, 1, 2, 3].map((i) => [...POINTS.map((point) => point ** i), i === TILE - 1 ? 1 : 0]),
    kernelTransform: [
      ...POINTS.map((point, j) => {
        const divisor = others[j]!.reduce((product, other) => product * (point - other), 1);
        return [0, 1, 2].map((k) => point ** k / divisor);
      }),
      [0, 0, 1],
    ],
    inputTransform: [...others.map((roots) => [...polynomial(roots), 0]), polynomial(POINTS)],
  };
}

/** Coefficients of Π(x − root), constant term first. */
function polynomial(roots: readonly number[]): number[] {
  let coefficients = [1];
  for (const root of roots) {
    const shifted = [0, ...coefficients];
    coefficients = shifted.map((coefficient, i) => coefficient - root * (coefficients[i] ?? 0));
  }
  return coefficients;
}

/** Kronecker product: applies `matrix` to both axes of a flattened tile. */
function onBothAxes(matrix: Matrix): number[][] {
  return matrix.flatMap((a) => matrix.map((b) => a.flatMap((x) => b.map((y) => x * y))));
}

/** Whether a convolution has the only shape that the transform serves: 3 x 3, stride 1, padded to keep its size. */
export function keepsSize3x3({ shape }: Value, { strides, pads }: ConvAttributes): boolean {
  return shape[2] === 3 && shape[3] === 3 && strides.every((s) => s === 1) && pads.every((pad) => pad === 1);
}

/** Emits a 3 x 3 convolution of stride 1 and padding 1 of x [N, C, H, W]. */
export function winogradConv(lowering: Lowering, x: Value, { weight, bias }: WinogradConvolution): string {
  const [batch, , height, width] = x.shape as [Dim, Dim, Dim, Dim];
  const outChannels = weight.shape[0]!;
  const [rows, columns] = [height, width].map((size) =>
    floorDivideDim(addDims(lowering.resolve(size), TILE - 1), TILE),
  );
  const tiling: Tiling = { matrices: winogradMatrices(), batch, rows: rows!, columns: columns! };
  const product = lowering.node('MatMul', [
    transformedWeight(lowering, weight, tiling),
    transformedInput(lowering, x, tiling),
  ]);
  const result = cropped(lowering, joinedTiles(lowering, product, outChannels, tiling), x, tiling);
  return bias ? lowering.node('Add', [result, lowering.reshape(lowering.plain(bias), [outChannels, 1, 1])]) : result;
}

interface Tiling {
  readonly matrices: WinogradMatrices;
  readonly batch: Dim;
  /** Rows and columns of tiles; the last ones are cut off by the border if the size is no multiple. */
  readonly rows: Dim;
  readonly columns: Dim;
}

/**
 * G·g·Gᵀ as [36, M, C], computed at every run. ONNX Runtime folds no FusedMatMul: folded at load, as a Gemm is, the
 * weights of Stable Diffusion 1.5 take 1 GiB and 3 s more, against 4 % of a run.
 */
function transformedWeight(lowering: Lowering, weight: Value, { matrices }: Tiling): string {
  const [outChannels, channels] = weight.shape as [Dim, Dim];
  const kernels = lowering.reshape(lowering.plain(weight), [multiplyDims(outChannels, channels), 9]);
  const transform = matrixConstant(lowering, onBothAxes(matrices.kernelTransform), [SIDE ** 2, 9]);
  const transformed = lowering.node('FusedMatMul', [transform, kernels], { transB: int(1) }, 'com.microsoft');
  return lowering.reshape(transformed, [SIDE ** 2, outChannels, channels]);
}

/** Bᵀ·d·B as [N, 36, C, tiles]: a convolution with constant kernels whose stride is the tile. */
function transformedInput(lowering: Lowering, x: Value, { matrices, batch, rows, columns }: Tiling): string {
  const [, channels, height, width] = x.shape as [Dim, Dim, Dim, Dim];
  const planes = lowering.reshape(lowering.plain(x), [multiplyDims(batch, channels), 1, height, width]);
  const kernels = matrixConstant(lowering, onBothAxes(matrices.inputTransform), [SIDE ** 2, 1, SIDE, SIDE]);
  // A whole tile of padding at the end lets the last, incomplete tile fit whatever the size is.
  const pads = ints(1, 1, TILE, TILE);
  const transformed = lowering.node('Conv', [planes, kernels], { strides: ints(TILE, TILE), pads });
  return swapMiddleAxes(lowering, transformed, [batch, channels, SIDE ** 2, multiplyDims(rows, columns)]);
}

/** Aᵀ·p·A of products [N, 36, M, tiles], put together to [N, M, 4·rows, 4·columns]. */
function joinedTiles(
  lowering: Lowering,
  product: string,
  outChannels: Dim,
  { matrices, batch, rows, columns }: Tiling,
): string {
  const transform = matrixConstant(lowering, onBothAxes(matrices.outputTransform), [TILE ** 2, SIDE ** 2, 1, 1]);
  // Transformed before the axes are swapped: 16 values per tile have to move instead of 36.
  const transformed = lowering.node('Conv', [product, transform]);
  const moved = swapMiddleAxes(lowering, transformed, [batch, TILE ** 2, outChannels, multiplyDims(rows, columns)]);
  const blocks = lowering.reshape(moved, [multiplyDims(batch, outChannels), TILE ** 2, rows, columns]);
  const joined = lowering.node('DepthToSpace', [blocks], { blocksize: int(TILE), mode: string('CRD') });
  return lowering.reshape(joined, [batch, outChannels, multiplyDims(TILE, rows), multiplyDims(TILE, columns)]);
}

/** Cuts off what incomplete tiles computed beyond the border. */
function cropped(lowering: Lowering, result: string, { shape }: Value, { rows, columns }: Tiling): string {
  const size = shape.slice(2).map((dim) => lowering.resolve(dim));
  if ([rows, columns].every((tiles, i) => equalDims(size[i]!, multiplyDims(TILE, tiles)))) return result;
  const starts = lowering.constant([0, 0], [2], 'int64');
  return lowering.node('Slice', [result, starts, lowering.shapeTensor(size), lowering.constant([2, 3], [2], 'int64')]);
}

function swapMiddleAxes(lowering: Lowering, name: string, shape: readonly Dim[]): string {
  return lowering.node('Transpose', [lowering.reshape(name, shape)], { perm: ints(0, 2, 1, 3) });
}

function matrixConstant(lowering: Lowering, matrix: number[][], shape: readonly number[]): string {
  return lowering.constant(matrix.flat(), shape, 'float32');
}
