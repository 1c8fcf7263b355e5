/** Values of a computation graph: what each node computes, from what, and the shape and dtype of the result. */
import type { Dim } from './dim.ts';

export type Dtype = 'float32' | 'float16' | 'int64' | 'bool';

/** Shape and element type of a tensor. */
export interface TensorType {
  readonly shape: readonly Dim[];
  readonly dtype: Dtype;
}

type Unary = { inputs: [x: Value]; attributes: Record<never, never> };
type Binary = { inputs: [a: Value, b: Value]; attributes: Record<never, never> };

/**
 * Every operator of the graph language with its inputs and attributes. Names are ONNX's where ONNX (or its
 * com.microsoft domain) has the operator; each value has one output.
 */
export interface Operators {
  /** Fed at every run. */
  Input: { inputs: []; attributes: TensorType & { name: string } };
  /** A tensor of a checkpoint; `name` is the checkpoint's own, `component` says whose checkpoint. */
  Parameter: { inputs: []; attributes: TensorType & { name: string; component: string } };
  Constant: { inputs: []; attributes: TensorType & { values: readonly number[] } };

  Add: Binary;
  Sub: Binary;
  Mul: Binary;
  Div: Binary;
  Sigmoid: Unary;
  /** x·sigmoid(x). */
  Silu: Unary;
  /** x/2·(1 + erf(x/√2)). */
  Gelu: Unary;
  /** x·sigmoid(1.702x). */
  QuickGelu: Unary;
  Relu: Unary;
  Sin: Unary;
  Cos: Unary;
  Exp: Unary;
  /** Natural logarithm. */
  Log: Unary;
  Erf: Unary;
  Sqrt: Unary;
  /** Over the last axis. */
  Softmax: Unary;
  /** bool: a > b. */
  Greater: Binary;
  Cast: { inputs: [x: Value]; attributes: { to: Dtype } };

  /** Matrix products over the last two axes, of a batch if there are more; the axes before them must agree. */
  MatMul: { inputs: [a: Value, b: Value]; attributes: { transposeA: boolean; transposeB: boolean } };

  /** x [..., in] times weight [out, in] transposed, plus bias [out]. */
  Linear: { inputs: [x: Value, weight: Value, bias?: Value]; attributes: Record<never, never> };
  /**
   * Linear plus a low-rank update whose factors are fed: Linear(x) + (x·downᵀ)·upᵀ, skipped where `enabled` is false.
   * enabled: bool scalar; down [rank, in]; up [out, rank].
   */
  LoraLinear: {
    inputs: [x: Value, weight: Value, enabled: Value, down: Value, up: Value, bias?: Value];
    attributes: Record<never, never>;
  };
  /** x [N, C, H, W], weight [M, C, kH, kW], bias [M]; pads are top, left, bottom, right. */
  Conv: { inputs: [x: Value, weight: Value, bias?: Value]; attributes: ConvAttributes };
  /** Conv plus a fed low-rank update: Conv(x) + Conv1x1(Conv(x, down), up), skipped where `enabled` is false. */
  LoraConv: {
    inputs: [x: Value, weight: Value, enabled: Value, down: Value, up: Value, bias?: Value];
    attributes: ConvAttributes;
  };
  /** Over groups of channels of x [N, C, H, W] with weight and bias [C], then SiLU if asked for. */
  GroupNormalization: {
    inputs: [x: Value, weight: Value, bias: Value];
    attributes: { numGroups: number; epsilon: number; activation: 'silu' | undefined };
  };
  /** Over the last axis. */
  LayerNormalization: { inputs: [x: Value, weight: Value, bias: Value]; attributes: { epsilon: number } };
  /**
   * softmax(q·kᵀ/√(C/numHeads) + bias)·v per head; query [N, S, C], key and value [N, T, C],
   * bias broadcast to [N, numHeads, S, T].
   */
  Attention: {
    inputs: [query: Value, key: Value, value: Value, bias?: Value];
    attributes: { numHeads: number; isCausal: boolean };
  };
  /** First half of the last axis times the exact GELU of the second half. */
  Geglu: Unary;

  /** Nearest neighbour, source index floor(destination·in/out). */
  ResizeNearest: { inputs: [x: Value]; attributes: { height: Dim; width: Dim } };
  /** 2 x 2 with stride 2; a last window that is cut off by the border averages only what is there. */
  AveragePool2x2: Unary;
  /** [N, C, f·H, f·W] to [N, C·f², H, W], channel index c·f² + dy·f + dx. */
  PixelUnshuffle: { inputs: [x: Value]; attributes: { factor: number } };
  /** [N, C, H, W] to [N, H·W, C]. */
  FlattenSpatial: Unary;
  /** [N, H·W, C] to [N, C, H, W]. */
  UnflattenSpatial: { inputs: [x: Value]; attributes: { height: Dim; width: Dim } };

  Reshape: { inputs: [x: Value]; attributes: { shape: readonly Dim[] } };
  Transpose: { inputs: [x: Value]; attributes: { perm: readonly number[] } };
  Expand: { inputs: [x: Value]; attributes: { shape: readonly Dim[] } };
  Concat: { inputs: Value[]; attributes: { axis: number } };
  Slice: { inputs: [x: Value]; attributes: { axis: number; start: Dim; end: Dim } };
  /** Rows of a table: table [V, ...], indices int64 of any shape. */
  Gather: { inputs: [table: Value, indices: Value]; attributes: Record<never, never> };
  Where: { inputs: [condition: Value, a: Value, b: Value]; attributes: Record<never, never> };
  /** Keeps the axes, with size 1. */
  ReduceMean: { inputs: [x: Value]; attributes: { axes: readonly number[] } };
  ReduceSum: { inputs: [x: Value]; attributes: { axes: readonly number[] } };

  /** From the cotangent of a Conv's result to that of its x [N, C, height, width]. */
  ConvInputGradient: {
    inputs: [cotangent: Value, weight: Value];
    attributes: ConvAttributes & { height: Dim; width: Dim };
  };
  /** From a Conv's x and the cotangent of its result to that of its weight [M, C, kH, kW]. */
  ConvWeightGradient: {
    inputs: [x: Value, cotangent: Value];
    attributes: ConvAttributes & { kernel: readonly [number, number] };
  };
  /** Sums cotangents [..., features] into the rows [rows, features] of the table that they were gathered from. */
  GatherGradient: { inputs: [cotangent: Value, indices: Value]; attributes: { rows: number } };
}

export interface ConvAttributes {
  readonly strides: readonly [number, number];
  readonly pads: readonly [number, number, number, number];
}

export type OpName = keyof Operators;
export type Inputs<Op extends OpName> = Operators[Op]['inputs'];
export type Attributes<Op extends OpName> = Operators[Op]['attributes'];

/** One node of the graph together with its one result. */
export interface ValueOf<Op extends OpName> extends TensorType {
  readonly op: Op;
  readonly inputs: Inputs<Op>;
  readonly attributes: Attributes<Op>;
  /** Whether a block of a network ends here: see Recomputation. */
  readonly endsBlock?: true;
}

export type Value = { [Op in OpName]: ValueOf<Op> }[OpName];

/** A description that cannot be: says in whose words (`path`, e.g. `down_blocks.1.attentions.0.attn2.to_k`) and why. */
export class GraphError extends Error {
  override readonly name = 'GraphError';
  readonly path: string | undefined;
  readonly rule: string;

  constructor(rule: string, path?: string) {
    super(path === undefined ? rule : `${path}: ${rule}`);
    this.rule = rule;
    this.path = path;
  }
}

/** Lists every value that the outputs need, inputs before users. */
export function topologicalOrder(outputs: readonly Value[]): Value[] {
  const order: Value[] = [];
  const state = new Map<Value, 'open' | 'done'>();
  const stack = [...outputs].reverse();
  while (stack.length > 0) {
    const value = stack.at(-1)!;
    const seen = state.get(value);
    if (seen === undefined) {
      state.set(value, 'open');
      for (const input of [...value.inputs].reverse()) {
        if (input !== undefined && !state.has(input)) stack.push(input);
      }
    } else {
      stack.pop();
      if (seen === 'open') order.push(value);
      state.set(value, 'done');
    }
  }
  return order;
}

/** Lists the checkpoint tensors that the outputs need: component to name to shape. */
export function parametersOf(outputs: readonly Value[]): Map<string, Map<string, readonly number[]>> {
  const components = new Map<string, Map<string, readonly number[]>>();
  for (const value of topologicalOrder(outputs)) {
    if (value.op !== 'Parameter') continue;
    const { component, name, shape } = value.attributes;
    const parameters = components.get(component) ?? new Map<string, readonly number[]>();
    components.set(component, parameters.set(name, shape.map(Number)));
  }
  return components;
}
