/** Turns graph values into an ONNX graph; what each operator becomes is decided by the rules of a target. */
import { type Dim, dimToString, foldDim, type SymbolValues, substituteDim } from './dim.ts';
import {
  type ExternalTensor,
  int,
  type OnnxAttribute,
  type OnnxDtype,
  type OnnxGraph,
  type OnnxInitializer,
  type OnnxNode,
  type OnnxValueInfo,
} from './onnx-graph.ts';
import { prune } from './prune.ts';
import { type Dtype, type OpName, topologicalOrder, type Value, type ValueOf } from './value.ts';

/** Where a parameter lies and in which dtype; its shape has been checked against the description. */
export interface StoredParameter extends ExternalTensor {
  readonly dtype: 'F32' | 'F16' | 'BF16';
}

export interface LoweringOptions {
  /** Symbols to fix; a graph without free symbols has no shape arithmetic left. */
  readonly symbols?: SymbolValues;
  /** What free symbols will mostly be, for choices between ways to compute the same; 64 where nothing is said. */
  readonly typicalSymbols?: SymbolValues;
  /**
   * Inputs whose first axis ONNX Runtime is not told. Where it knows shapes it plans ahead which buffer takes over which,
   * and keeps a dead one until its last heir has died: a UNet's backward pass takes up to twice the memory.
   */
  readonly openInputs?: readonly string[];
  readonly findParameter: (component: string, name: string) => StoredParameter;
}

/** What one value became: its name in the logical layout, or channels-last for [N, C, H, W], or both. */
export interface Lowered {
  plain?: string;
  /** [N, H, W, C]. */
  channelsLast?: string;
}

export type LowerRule<Op extends OpName> = (lowering: Lowering, value: ValueOf<Op>) => string | Lowered;
export type LowerRules = { readonly [Op in OpName]: LowerRule<Op> };

const storedDtypes: { [D in StoredParameter['dtype']]: OnnxDtype } = {
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
};

/** Lowers named outputs; floating-point inputs and outputs cross the border as float32. */
export function lowerGraph(
  outputs: Readonly<Record<string, Value>>,
  rules: LowerRules,
  options: LoweringOptions,
): OnnxGraph {
  const lowering = new Lowering(outputs, rules, options);
  return lowering.run();
}

/** The state of one lowering: emitted nodes, and what each value has become. */
export class Lowering {
  readonly #outputs: Readonly<Record<string, Value>>;
  readonly #rules: LowerRules;
  readonly #options: LoweringOptions;
  readonly #lowered = new Map<Value, Lowered>();
  readonly #users = new Map<Value, Value[]>();
  readonly #initializers = new Map<string, OnnxInitializer>();
  readonly #inputs = new Map<string, OnnxValueInfo>();
  /** An open input for each size of a first axis. */
  readonly #openInputs = new Map<number, string>();
  readonly #symbolSources = new Map<string, { input: string; axis: number; divisor: number }>();
  readonly #memo = new Map<string, string>();
  #nodes: OnnxNode[] = [];
  #nodeCount = 0;

  constructor(outputs: Readonly<Record<string, Value>>, rules: LowerRules, options: LoweringOptions) {
    this.#outputs = outputs;
    this.#rules = rules;
    this.#options = options;
  }

  run(): OnnxGraph {
    const order = topologicalOrder(Object.values(this.#outputs));
    for (const value of order) {
      for (const input of value.inputs) if (input) this.#users.set(input, [...this.usersOf(input), value]);
    }
    for (const value of order) if (value.op === 'Input') this.#declareInput(value);
    for (const value of order) if (!this.#lowered.has(value)) this.#applyRule(value);
    const outputs = Object.entries(this.#outputs).map(([name, value]) => this.#emitOutput(name, value));
    return prune({
      name: 'main',
      nodes: this.#nodes,
      initializers: [...this.#initializers.values()],
      inputs: [...this.#inputs.values()],
      outputs,
    });
  }

  /** The operators that read the value, once for each input that does. */
  usersOf(value: Value): readonly Value[] {
    return this.#users.get(value) ?? [];
  }

  /** Lowers a value that a rule makes up from lowered ones, and returns it. */
  derive<V extends Value>(value: V): V {
    this.#applyRule(value);
    return value;
  }

  /** Says what a value becomes before its turn: the rule of an operator that computes a later one along with its own. */
  settle(value: Value, lowered: Lowered): void {
    this.#lowered.set(value, lowered);
  }

  /** Name of the value in its logical layout. */
  plain(value: Value): string {
    const lowered = this.#lower(value);
    lowered.plain ??= this.node('Transpose', [lowered.channelsLast!], { perm: { type: 'ints', value: [0, 3, 1, 2] } });
    return lowered.plain;
  }

  /** Name of a 4-axis value with the channels moved last. */
  channelsLast(value: Value): string {
    const lowered = this.#lower(value);
    lowered.channelsLast ??= this.node('Transpose', [lowered.plain!], { perm: { type: 'ints', value: [0, 2, 3, 1] } });
    return lowered.channelsLast;
  }

  isChannelsLast(value: Value): boolean {
    return this.#lower(value).channelsLast !== undefined;
  }

  /** Emits a node with one output and returns the output's name. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: Record<string, OnnxAttribute> = {},
    domain: OnnxNode['domain'] = '',
  ): string {
    return this.nodes(opType, inputs, { attributes, domain, outputCount: 1 })[0]!;
  }

  /** Emits a node with several outputs. */
  nodes(
    opType: string,
    inputs: readonly string[],
    options: { attributes?: Record<string, OnnxAttribute>; domain?: OnnxNode['domain']; outputCount: number },
  ): string[] {
    const name = `${opType}_${this.#nodeCount++}`;
    const outputs = Array.from({ length: options.outputCount }, (_, i) => `${name}:${i}`);
    const { attributes = {}, domain = '' } = options;
    this.#nodes.push({ opType, domain, name, inputs, outputs, attributes });
    return outputs;
  }

  /** Emits an If whose branches are emitted by the callbacks; constants made inside belong to the main graph. */
  ifElse(condition: string, dtype: Dtype, branches: { ifTrue: () => string; ifFalse: () => string }): string {
    return this.node('If', [condition], {
      then_branch: { type: 'graph', value: this.#branch('then', dtype, branches.ifTrue) },
      else_branch: { type: 'graph', value: this.#branch('else', dtype, branches.ifFalse) },
    });
  }

  constant(values: readonly number[], shape: readonly number[], dtype: Dtype): string {
    const name = `constant:${dtype}:${shape.join('x')}:${values.join(',')}`;
    if (!this.#initializers.has(name)) {
      this.#initializers.set(name, { name, dtype, dims: shape, data: encodeValues(values, dtype) });
    }
    return name;
  }

  /** A parameter's tensor cast to a dtype of choice; the cast is folded into the weights when the session is created. */
  parameterAs(value: ValueOf<'Parameter'>, dtype: Dtype): string {
    const { name, component, shape } = value.attributes;
    const data = this.#options.findParameter(component, name);
    return this.#storedTensor(`${component}:${name}`, { dims: shape as number[], data }, dtype);
  }

  /** Rows from `start` up to `end` of a parameter's first axis: a part of the bytes on the disk, not a copy. */
  parameterRows(value: ValueOf<'Parameter'>, [start, end]: readonly [number, number]): string {
    const { name, component, shape, dtype } = value.attributes;
    const [rows, ...rest] = shape as number[];
    const stored = this.#options.findParameter(component, name);
    const rowBytes = stored.sizeBytes / rows!;
    const data = { ...stored, offset: stored.offset + start * rowBytes, sizeBytes: (end - start) * rowBytes };
    return this.#storedTensor(`${component}:${name}[${start}:${end}]`, { dims: [end - start, ...rest], data }, dtype);
  }

  #storedTensor(
    name: string,
    { dims, data }: { dims: readonly number[]; data: StoredParameter },
    dtype: Dtype,
  ): string {
    const storedDtype = storedDtypes[data.dtype];
    if (!this.#initializers.has(name)) this.#initializers.set(name, { name, dtype: storedDtype, dims, data });
    return storedDtype === dtype ? name : this.#once(`cast:${dtype}:${name}`, () => this.cast(name, dtype));
  }

  cast(name: string, dtype: Dtype): string {
    return this.node('Cast', [name], { to: int(elementTypes[dtype]) });
  }

  /** The value of a dimension, with fixed symbols put in. */
  resolve(dim: Dim): Dim {
    return substituteDim(dim, this.#options.symbols ?? {});
  }

  /** A number near to what the dimension will mostly be. */
  typical(dim: Dim): number {
    const { typicalSymbols = {} } = this.#options;
    return foldDim<number>(this.resolve(dim), {
      constant: (value) => value,
      symbol: (name) => typicalSymbols[name] ?? TYPICAL_SIZE,
      add: (a, b) => a + b,
      multiply: (a, b) => a * b,
      floorDivide: (a, divisor) => Math.floor(a / divisor),
    });
  }

  /** An int64 vector [dims.length] that holds the dimensions at run time. */
  shapeTensor(dims: readonly Dim[]): string {
    const resolved = dims.map((dim) => this.resolve(dim));
    if (resolved.every((dim) => typeof dim === 'number')) return this.constant(resolved, [resolved.length], 'int64');
    const key = resolved.map(dimToString).join(', ');
    return this.#once(`shape:${key}`, () => {
      const parts = resolved.map((dim) => this.#dimTensor(dim));
      return parts.length === 1 ? parts[0]! : this.node('Concat', parts, { axis: int(0) });
    });
  }

  /** Like shapeTensor for Reshape: one unknown dimension is left to be inferred. */
  reshapeTensor(dims: readonly Dim[]): string {
    const resolved = dims.map((dim) => this.resolve(dim));
    const unknown = resolved.filter((dim) => typeof dim !== 'number');
    if (unknown.length > 1) return this.shapeTensor(resolved);
    const inferred = unknown.length === 1 ? resolved.indexOf(unknown[0]!) : this.#openInputs.size > 0 ? 0 : undefined;
    const sizes = resolved.map((dim, axis) => (axis === inferred ? -1 : (dim as number)));
    return this.constant(sizes, [sizes.length], 'int64');
  }

  /** Like shapeTensor, but ONNX Runtime does not get to know the size of the first axis if that of an open input is as large. */
  openShapeTensor(dims: readonly Dim[]): string {
    const [first, ...rest] = dims.map((dim) => this.resolve(dim));
    const source = typeof first === 'number' ? this.#openInputs.get(first) : undefined;
    if (source === undefined || first === 1) return this.shapeTensor(dims);
    const size = this.#once(`open:${first}`, () => this.node('Shape', [source], { start: int(0), end: int(1) }));
    return rest.length === 0 ? size : this.node('Concat', [size, this.shapeTensor(rest)], { axis: int(0) });
  }

  reshape(name: string, dims: readonly Dim[]): string {
    return this.node('Reshape', [name, this.reshapeTensor(dims)]);
  }

  #lower(value: Value): Lowered {
    const lowered = this.#lowered.get(value);
    if (!lowered) throw new Error(`Cannot lower ${value.op}: its inputs come first`);
    return lowered;
  }

  #applyRule(value: Value): void {
    // Each rule takes the values of its own operator; the table cannot be indexed by a union without this.
    const rule = this.#rules[value.op] as LowerRule<OpName>;
    const result = rule(this, value as ValueOf<OpName>);
    this.#lowered.set(value, typeof result === 'string' ? { plain: result } : result);
  }

  #declareInput({ attributes: { name, shape, dtype } }: ValueOf<'Input'>): void {
    const resolved = shape.map((dim) => this.resolve(dim));
    const dims = resolved.map((dim) => (typeof dim === 'number' ? dim : dimToString(dim)));
    this.#inputs.set(name, { name, dtype: borderDtype(dtype), dims });
    const [first] = dims;
    if (typeof first === 'number' && this.#options.openInputs?.includes(name)) this.#openInputs.set(first, name);
    resolved.forEach((dim, axis) => {
      const source = typeof dim === 'number' ? undefined : multipleOfSymbol(dim);
      if (source && !this.#symbolSources.has(source.name)) {
        this.#symbolSources.set(source.name, { input: name, axis, divisor: source.factor });
      }
    });
  }

  #emitOutput(name: string, value: Value): OnnxValueInfo {
    const dtype = borderDtype(value.dtype);
    const source = value.dtype === dtype ? this.plain(value) : this.cast(this.plain(value), dtype);
    this.#nodes.push({
      opType: 'Identity',
      domain: '',
      name: `output_${name}`,
      inputs: [source],
      outputs: [name],
      attributes: {},
    });
    const dims = value.shape.map((dim) => this.resolve(dim));
    return { name, dtype, dims: dims.map((dim) => (typeof dim === 'number' ? dim : dimToString(dim))) };
  }

  #branch(name: string, dtype: Dtype, emit: () => string): OnnxGraph {
    const outer = this.#nodes;
    this.#nodes = [];
    const result = emit();
    const output = `${name}_${this.#nodeCount++}`;
    const nodes = [
      ...this.#nodes,
      { opType: 'Identity', domain: '' as const, name: output, inputs: [result], outputs: [output], attributes: {} },
    ];
    this.#nodes = outer;
    return { name, nodes, initializers: [], inputs: [], outputs: [{ name: output, dtype, dims: undefined }] };
  }

  /** An int64 vector of one element. */
  #dimTensor(dim: Dim): string {
    return this.#once(`dim:${dimToString(dim)}`, () =>
      foldDim<string>(dim, {
        constant: (value) => this.constant([value], [1], 'int64'),
        symbol: (name) => this.#symbolTensor(name),
        add: (a, b) => this.node('Add', [a, b]),
        multiply: (a, b) => this.node('Mul', [a, b]),
        floorDivide: (a, divisor) => this.node('Div', [a, this.constant([divisor], [1], 'int64')]),
      }),
    );
  }

  #symbolTensor(name: string): string {
    const source = this.#symbolSources.get(name);
    if (!source) throw new Error(`Cannot lower the graph: no input has a dimension that gives ${name}`);
    return this.#once(`symbol:${name}`, () => {
      const size = this.node('Shape', [source.input], { start: int(source.axis), end: int(source.axis + 1) });
      return source.divisor === 1 ? size : this.node('Div', [size, this.constant([source.divisor], [1], 'int64')]);
    });
  }

  #once(key: string, emit: () => string): string {
    const known = this.#memo.get(key);
    if (known !== undefined) return known;
    const name = emit();
    this.#memo.set(key, name);
    return name;
  }
}

/** The latents of a picture of 512 pixels. */
const TYPICAL_SIZE = 64;

/** Floating-point values cross the border between graph and program as float32. */
function borderDtype(dtype: Dtype): Dtype {
  return dtype === 'float16' ? 'float32' : dtype;
}

function multipleOfSymbol(dim: Dim): { name: string; factor: number } | undefined {
  if (typeof dim === 'number' || dim.terms.length !== 1) return undefined;
  const [{ coefficient, atoms }] = dim.terms as [(typeof dim.terms)[number]];
  const [atom] = atoms;
  return atoms.length === 1 && atom?.kind === 'symbol' ? { name: atom.name, factor: coefficient } : undefined;
}

/** TensorProto.DataType numbers of ONNX. */
const elementTypes: { [D in Dtype]: number } = { float32: 1, float16: 10, int64: 7, bool: 9 };

function encodeValues(values: readonly number[], dtype: Dtype): Uint8Array<ArrayBuffer> {
  const encoded: { [D in Dtype]: () => ArrayBuffer } = {
    float32: () => Float32Array.from(values).buffer,
    float16: () => Uint16Array.from(values, float16Bits).buffer,
    int64: () => BigInt64Array.from(values, BigInt).buffer,
    bool: () => Uint8Array.from(values).buffer,
  };
  return new Uint8Array(encoded[dtype]());
}

/** Bits of the float16 nearest to a value; used for small constants only. */
function float16Bits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  const exponent = Math.max(Math.floor(Math.log2(magnitude)), -14);
  if (magnitude === 0) return sign;
  const scaled = magnitude / 2 ** (exponent - 10);
  const rounded = roundHalfToEven(scaled);
  // A subnormal has no hidden bit; a carry out of the mantissa moves into the exponent by plain addition.
  return sign | (rounded < 1024 ? rounded : ((exponent + 15) << 10) + (rounded - 1024));
}

function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const fraction = value - floor;
  return fraction > 0.5 || (fraction === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
