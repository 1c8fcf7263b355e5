/** Definitions, in standard operators, of the fused operators that have a kernel on CUDA only. */
import {
  int,
  ints,
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxInitializer,
  type OnnxNode,
} from '../../worker/graph/onnx-graph.ts';

/** Replaces each node that only CUDA has a kernel for by its definition, so that the graph runs on the CPU in float32. */
export function withoutCudaOperators(graph: OnnxGraph): OnnxGraph {
  const writer = new Writer(graph);
  const nodes = writer.rewrite(graph.nodes);
  return { ...graph, nodes, initializers: [...graph.initializers, ...writer.constants] };
}

type Definition = (writer: Writer, node: OnnxNode) => void;

const definitions: Readonly<Record<string, Definition>> = {
  NhwcConv: (writer, { inputs: [x, weight, bias], outputs: [y], attributes }) => {
    const toPlanes = { perm: ints(0, 3, 1, 2) };
    const operands = [writer.node('Transpose', [x!], toPlanes), writer.node('Transpose', [weight!], toPlanes)];
    const planes = writer.node('Conv', bias === undefined ? operands : [...operands, bias], attributes);
    writer.node('Transpose', [planes], { perm: ints(0, 2, 3, 1) }, y);
  },
  GroupNorm: (writer, { inputs: [x, ...parameters], outputs: [y], attributes }) =>
    groupNorm(writer, x!, { parameters, attributes, y: y! }),
  // y = GroupNorm(s), s = x + skip
  SkipGroupNorm: (writer, { inputs: [x, gamma, beta, skip], outputs: [y, sum], attributes }) => {
    const total = writer.node('Add', [x!, skip!], {}, sum);
    groupNorm(writer, total, { parameters: [gamma!, beta!], attributes, y: y! });
  },
  // y = l·gelu(r), [l, r] = x + bias, gelu(r) = r/2·(1 + erf(r/√2))
  BiasSplitGelu: (writer, { inputs: [x, bias], outputs: [y] }) => {
    const biased = writer.node('Add', [x!, bias!]);
    const width = writer.dimsOf(bias!)[0]! / 2;
    const half = (start: number) =>
      writer.node('Slice', [biased, ...[start, start + width, -1].map((bound) => writer.int64(bound))]);
    const [left, right] = [half(0), half(width)];
    const erf = writer.node('Erf', [writer.node('Mul', [right, writer.float32(Math.SQRT1_2)])]);
    const gate = writer.node('Mul', [right, writer.node('Add', [erf, writer.float32(1)])]);
    writer.node('Mul', [writer.node('Mul', [left, gate]), writer.float32(0.5)], {}, y);
  },
  BiasAdd: (writer, { inputs: [x, bias, skip], outputs: [y] }) => {
    writer.node('Add', [writer.node('Add', [x!, bias!]), skip!], {}, y);
  },
};

/** Wu & He 2018 (arXiv 1803.08494), equations 1, 2 and 7, over [N, H·W, G, C/G]. */
function groupNorm(
  writer: Writer,
  x: string,
  options: { parameters: string[]; attributes: OnnxNode['attributes']; y: string },
): void {
  const { parameters, attributes, y } = options;
  const [groups, epsilon, activation] = ['groups', 'epsilon', 'activation'].map((name) => numberOf(attributes, name));
  const channels = writer.dimsOf(parameters[0]!)[0]!;
  const grouped = writer.node('Reshape', [x, writer.int64(0, -1, groups!, channels / groups!)]);
  const mean = (value: string) => writer.node('ReduceMean', [value, writer.int64(1, 3)], { keepdims: int(1) });
  const centered = writer.node('Sub', [grouped, mean(grouped)]);
  const variance = mean(writer.node('Mul', [centered, centered]));
  const deviation = writer.node('Sqrt', [writer.node('Add', [variance, writer.float32(epsilon!)])]);
  const normalized = writer.node('Div', [centered, deviation]);
  const restored = writer.node('Reshape', [normalized, writer.node('Shape', [x])]);
  const scaled = writer.node('Mul', [restored, parameters[0]!]);
  if (activation === 0) {
    writer.node('Add', [scaled, parameters[1]!], {}, y);
    return;
  }
  const shifted = writer.node('Add', [scaled, parameters[1]!]);
  writer.node('Mul', [shifted, writer.node('Sigmoid', [shifted])], {}, y);
}

function numberOf(attributes: OnnxNode['attributes'], name: string): number {
  const attribute = attributes[name];
  if (attribute?.type === 'int' || attribute?.type === 'float') return attribute.value;
  throw new Error(`Cannot replace a fused operator: ${name} must be a number, got ${attribute?.type}`);
}

class Writer {
  readonly constants: OnnxInitializer[] = [];
  readonly #initializers: ReadonlyMap<string, OnnxInitializer>;
  #nodes: OnnxNode[] = [];
  #count = 0;

  constructor(graph: OnnxGraph) {
    this.#initializers = new Map(graph.initializers.map((initializer) => [initializer.name, initializer]));
  }

  rewrite(nodes: readonly OnnxNode[]): OnnxNode[] {
    const outer = this.#nodes;
    this.#nodes = [];
    for (const node of nodes) {
      const definition = node.domain === 'com.microsoft' ? definitions[node.opType] : undefined;
      if (definition) definition(this, node);
      else this.#nodes.push({ ...node, attributes: this.#rewriteBranches(node.attributes) });
    }
    const rewritten = this.#nodes;
    this.#nodes = outer;
    return rewritten;
  }

  #rewriteBranches(attributes: OnnxNode['attributes']): OnnxNode['attributes'] {
    const rewritten = Object.entries(attributes).map(([name, attribute]): [string, OnnxAttribute] => [
      name,
      attribute.type === 'graph'
        ? { type: 'graph', value: { ...attribute.value, nodes: this.rewrite(attribute.value.nodes) } }
        : attribute,
    ]);
    return Object.fromEntries(rewritten);
  }

  node(
    opType: string,
    inputs: readonly string[],
    attributes: Record<string, OnnxAttribute> | OnnxNode['attributes'] = {},
    output: string | undefined = undefined,
  ): string {
    const name = `stand_in_${opType}_${this.#count++}`;
    const result = output === undefined || output === '' ? name : output;
    this.#nodes.push({ opType, domain: '', name, inputs, outputs: [result], attributes });
    return result;
  }

  int64(...values: number[]): string {
    return this.#constant('int64', [values.length], BigInt64Array.from(values, BigInt));
  }

  float32(value: number): string {
    return this.#constant('float32', [], Float32Array.of(value));
  }

  dimsOf(name: string): readonly number[] {
    const initializer = this.#initializers.get(name);
    if (!initializer)
      throw new Error(`Cannot replace a fused operator: its parameter must be an initializer, got ${name}`);
    return initializer.dims;
  }

  #constant(
    dtype: 'int64' | 'float32',
    dims: number[],
    values: BigInt64Array<ArrayBuffer> | Float32Array<ArrayBuffer>,
  ) {
    const name = `stand_in_constant_${this.#count++}`;
    this.constants.push({ name, dtype, dims, data: new Uint8Array(values.buffer) });
    return name;
  }
}
