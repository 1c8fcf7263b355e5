/** Shapes of the values of an ONNX graph without symbols: what has to be known to say how much memory they take. */
import type { OnnxAttribute, OnnxDtype, OnnxInitializer, OnnxNode, OnnxValueInfo } from './onnx-graph.ts';

/** A tensor's shape and element type; `values` are those of an int64 constant. */
export interface OnnxType {
  readonly dtype: OnnxDtype;
  readonly dims: readonly number[];
  readonly values?: readonly number[];
}

const elementBytes: { readonly [D in OnnxDtype]: number } = { float32: 4, float16: 2, bfloat16: 2, int64: 8, bool: 1 };

export function sizeBytes({ dtype, dims }: OnnxType): number {
  return elementBytes[dtype] * product(dims);
}

/**
 * Infers the type of every value that the nodes compute.
 * @param known  types of the graph's inputs, by name
 * @param initializers  those that the nodes read, of the graph itself or of the one around it
 * @throws Error for an operator that no lowering emits, or a shape that is known only at run time
 */
export function inferTypes(
  nodes: readonly OnnxNode[],
  known: ReadonlyMap<string, OnnxType>,
  initializers: readonly OnnxInitializer[],
): Map<string, OnnxType> {
  const types = new Map(known);
  for (const initializer of initializers) types.set(initializer.name, initializerType(initializer));
  for (const node of nodes) {
    const inputs = node.inputs.map((name) => (name === '' ? undefined : typeOf(types, name, node)));
    const results = outputTypes(node, inputs as OnnxType[], types);
    node.outputs.forEach((name, i) => {
      if (name !== '') types.set(name, results[i] ?? results[0]!);
    });
  }
  return types;
}

/** Types of a graph's inputs, which must be without symbols. */
export function inputTypes(inputs: readonly OnnxValueInfo[]): Map<string, OnnxType> {
  return new Map(
    inputs.map(({ name, dtype, dims = [] }) => {
      const unknown = dims.find((dim) => typeof dim !== 'number');
      if (unknown !== undefined) throw new Error(`Cannot size ${name}: its dimensions must be known, got ${unknown}`);
      return [name, { dtype, dims: dims as number[] }];
    }),
  );
}

function typeOf(types: ReadonlyMap<string, OnnxType>, name: string, { opType }: OnnxNode): OnnxType {
  const type = types.get(name);
  if (!type) throw new Error(`Cannot size the result of ${opType}: its inputs must come first, got ${name}`);
  return type;
}

function initializerType({ name, dtype, dims, data }: OnnxInitializer): OnnxType {
  if (dtype !== 'int64') return { dtype, dims };
  if (!(data instanceof Uint8Array))
    throw new Error(`Cannot size a graph: int64 must lie in it, got the file's ${name}`);
  return { dtype, dims, values: [...new BigInt64Array(data.slice().buffer)].map(Number) };
}

/** One type per output; a single one stands for all outputs. */
function outputTypes(node: OnnxNode, inputs: readonly OnnxType[], types: ReadonlyMap<string, OnnxType>): OnnxType[] {
  if (node.opType === 'If') return branchTypes(node, types);
  const rule = rules[node.opType];
  if (!rule)
    throw new Error(`Cannot size the result of an operator: it must be one that is emitted, got ${node.opType}`);
  const result = rule(inputs, node);
  return Array.isArray(result) ? result : [result as OnnxType];
}

/** Both branches of an If give the same shape, unless one of them merely broadcasts to the other's. */
function branchTypes({ attributes }: OnnxNode, types: ReadonlyMap<string, OnnxType>): OnnxType[] {
  const results = Object.values(attributes).flatMap((attribute) => {
    if (attribute.type !== 'graph') return [];
    const { nodes, outputs } = attribute.value;
    return [inferTypes(nodes, types, []).get(outputs[0]!.name)!];
  });
  return [results.reduce((a, b) => (product(a.dims) >= product(b.dims) ? a : b))];
}

type TypeRule = (inputs: readonly OnnxType[], node: OnnxNode) => OnnxType | OnnxType[];

const likeFirst: TypeRule = ([x]) => ({ dtype: x!.dtype, dims: x!.dims });
const broadcast: TypeRule = (inputs) => ({ dtype: inputs[0]!.dtype, dims: broadcastDims(inputs) });

const rules: Readonly<Record<string, TypeRule>> = {
  ...Object.fromEntries(['Add', 'Sub', 'Mul', 'Div'].map((op) => [op, broadcast])),
  ...Object.fromEntries(
    ['Sigmoid', 'Relu', 'Log', 'Sin', 'Cos', 'Exp', 'Erf', 'Sqrt', 'Softmax', 'Gelu', 'QuickGelu', 'Identity'].map(
      (op) => [op, likeFirst],
    ),
  ),
  InstanceNormalization: likeFirst,
  LayerNormalization: likeFirst,
  GroupNorm: likeFirst,
  SkipGroupNorm: likeFirst,
  SkipLayerNormalization: likeFirst,
  MultiHeadAttention: likeFirst,
  BiasAdd: likeFirst,
  ScatterND: likeFirst,
  Greater: (inputs) => ({ dtype: 'bool', dims: broadcastDims(inputs) }),
  Where: ([condition, a, b]) => ({ dtype: a!.dtype, dims: broadcastDims([condition!, a!, b!]) }),
  Cast: ([x], { attributes }) => ({ dtype: dtypesByNumber[intOf(attributes, 'to')]!, dims: x!.dims }),
  Gemm: ([a, b], { attributes }) => ({ dtype: a!.dtype, dims: matrixDims(a!, b!, attributes) }),
  FusedMatMul: ([a, b], { attributes }) => ({ dtype: a!.dtype, dims: matrixDims(a!, b!, attributes) }),
  MatMul: ([a, b], { attributes }) => ({ dtype: a!.dtype, dims: matrixDims(a!, b!, attributes) }),
  Conv: ([x, weight], { attributes }) => {
    const [batch, ...size] = [x!.dims[0]!, x!.dims[2]!, x!.dims[3]!];
    const kernel = weight!.dims.slice(2);
    return { dtype: x!.dtype, dims: [batch!, weight!.dims[0]!, ...windows(size, kernel, attributes)] };
  },
  NhwcConv: ([x, weight], { attributes }) => {
    const kernel = weight!.dims.slice(1, 3);
    const size = windows(x!.dims.slice(1, 3), kernel, attributes);
    return { dtype: x!.dtype, dims: [x!.dims[0]!, ...size, weight!.dims[0]!] };
  },
  ConvTranspose: ([x, weight], { attributes }) => {
    const [strides, pads] = [listOf(attributes, 'strides', [1, 1]), listOf(attributes, 'pads', [0, 0, 0, 0])];
    const extra = listOf(attributes, 'output_padding', [0, 0]);
    const size = [0, 1].map((i) => {
      const covered = (x!.dims[2 + i]! - 1) * strides[i]! + weight!.dims[2 + i]!;
      return covered - pads[i]! - pads[2 + i]! + extra[i]!;
    });
    return { dtype: x!.dtype, dims: [x!.dims[0]!, weight!.dims[1]!, ...size] };
  },
  AveragePool: ([x], { attributes }) => {
    const kernel = listOf(attributes, 'kernel_shape', []);
    const size = x!.dims.slice(2).map((dim, i) => Math.ceil((dim - kernel[i]!) / kernel[i]!) + 1);
    return { dtype: x!.dtype, dims: [...x!.dims.slice(0, 2), ...size] };
  },
  BiasSplitGelu: ([x]) => ({ dtype: x!.dtype, dims: [...x!.dims.slice(0, -1), x!.dims.at(-1)! / 2] }),
  DepthToSpace: ([x], { attributes }) => {
    const [batch, channels, height, width] = x!.dims as [number, number, number, number];
    const block = intOf(attributes, 'blocksize');
    return { dtype: x!.dtype, dims: [batch, channels / block ** 2, height * block, width * block] };
  },
  Resize: ([x, , , sizes]) => ({ dtype: x!.dtype, dims: valuesOf(sizes, 'Resize') }),
  Reshape: ([x, shape]) => ({ dtype: x!.dtype, dims: reshapedDims(x!, valuesOf(shape, 'Reshape')) }),
  Expand: ([x, shape]) => {
    const wanted = { dtype: x!.dtype, dims: valuesOf(shape, 'Expand') };
    return { dtype: x!.dtype, dims: broadcastDims([x!, wanted]) };
  },
  Shape: ([x], { attributes }) => {
    const values = x!.dims.slice(intOf(attributes, 'start'), intOf(attributes, 'end'));
    return { dtype: 'int64', dims: [values.length], values };
  },
  Transpose: ([x], { attributes }) => ({
    dtype: x!.dtype,
    dims: listOf(attributes, 'perm', []).map((axis) => x!.dims[axis]!),
  }),
  Concat: (inputs, { attributes }) => {
    const axis = axisOf(attributes, inputs[0]!.dims.length);
    const total = inputs.reduce((sum, { dims }) => sum + dims[axis]!, 0);
    const dims = inputs[0]!.dims.map((dim, i) => (i === axis ? total : dim));
    const isShape = inputs.every(({ values }) => values !== undefined);
    return { dtype: inputs[0]!.dtype, dims, ...(isShape && { values: inputs.flatMap(({ values }) => values!) }) };
  },
  Split: ([x], { attributes, outputs }) => {
    const axis = axisOf(attributes, x!.dims.length);
    const dims = x!.dims.map((dim, i) => (i === axis ? dim / outputs.length : dim));
    return outputs.map(() => ({ dtype: x!.dtype, dims }));
  },
  Slice: ([x, starts, ends, axes]) => {
    const [start, end, axis] = [starts, ends, axes].map((input) => valuesOf(input, 'Slice')) as [
      number[],
      number[],
      number[],
    ];
    const dims = x!.dims.map((dim, i) => {
      const at = axis.indexOf(i);
      return at < 0 ? dim : Math.min(end[at]!, dim) - start[at]!;
    });
    return { dtype: x!.dtype, dims };
  },
  Gather: ([x, indices], { attributes }) => {
    const axis = axisOf(attributes, x!.dims.length);
    return { dtype: x!.dtype, dims: [...x!.dims.slice(0, axis), ...indices!.dims, ...x!.dims.slice(axis + 1)] };
  },
  ReduceMean: reduced,
  ReduceSum: reduced,
};

function reduced([x, axes]: readonly OnnxType[], { opType }: OnnxNode): OnnxType {
  const gone = valuesOf(axes, opType);
  return { dtype: x!.dtype, dims: x!.dims.map((dim, i) => (gone.includes(i) ? 1 : dim)) };
}

/** TensorProto.DataType numbers of ONNX. */
const dtypesByNumber: Readonly<Record<number, OnnxDtype>> = { 1: 'float32', 7: 'int64', 9: 'bool', 10: 'float16' };

function broadcastDims(inputs: readonly OnnxType[]): number[] {
  const rank = Math.max(...inputs.map(({ dims }) => dims.length));
  return Array.from({ length: rank }, (_, i) => Math.max(...inputs.map(({ dims }) => dims.at(i - rank) ?? 1)));
}

function matrixDims(a: OnnxType, b: OnnxType, attributes: OnnxNode['attributes']): number[] {
  const [rows, columns] = [intOf(attributes, 'transA') ? -1 : -2, intOf(attributes, 'transB') ? -2 : -1];
  const batches = [a, b].map(({ dtype, dims }) => ({ dtype, dims: dims.slice(0, -2) }));
  return [...broadcastDims(batches), a.dims.at(rows)!, b.dims.at(columns)!];
}

/** How many windows of a kernel fit along each axis. */
function windows(size: readonly number[], kernel: readonly number[], attributes: OnnxNode['attributes']): number[] {
  const [strides, pads] = [listOf(attributes, 'strides', [1, 1]), listOf(attributes, 'pads', [0, 0, 0, 0])];
  return size.map((dim, i) => Math.floor((dim + pads[i]! + pads[2 + i]! - kernel[i]!) / strides[i]!) + 1);
}

function reshapedDims({ dims }: OnnxType, shape: readonly number[]): number[] {
  const kept = shape.map((dim, i) => (dim === 0 ? dims[i]! : dim));
  const rest = product(dims) / product(kept.filter((dim) => dim >= 0));
  return kept.map((dim) => (dim < 0 ? rest : dim));
}

function valuesOf(input: OnnxType | undefined, opType: string): readonly number[] {
  if (!input?.values)
    throw new Error(`Cannot size the result of ${opType}: its shape must be constant, got a computed one`);
  return input.values;
}

function intOf(attributes: OnnxNode['attributes'], name: string): number {
  const attribute = attributes[name];
  return attribute?.type === 'int' ? attribute.value : 0;
}

function axisOf(attributes: OnnxNode['attributes'], rank: number): number {
  const axis = intOf(attributes, 'axis');
  return axis < 0 ? axis + rank : axis;
}

function listOf(attributes: OnnxNode['attributes'], name: string, fallback: readonly number[]): readonly number[] {
  const attribute: OnnxAttribute | undefined = attributes[name];
  return attribute?.type === 'ints' ? attribute.value : fallback;
}

function product(dims: readonly number[]): number {
  return dims.reduce((total, dim) => total * dim, 1);
}
