/** What ONNX Runtime's CUDA kernels demand of a graph beyond the operators' schemas. */
import { BIAS_SPLIT_GELU_WIDTHS, GROUP_NORM_MAX_CHANNELS_PER_GROUP } from './cuda-rules.ts';
import type { OnnxAttribute, OnnxDtype, OnnxGraph, OnnxInitializer, OnnxNode } from './onnx-graph.ts';

/** One demand: broken where `holds` is false. */
interface Rule {
  readonly text: string;
  readonly holds: (node: OnnxNode, known: Known) => boolean;
}

/** A CUDA kernel of opset 18 or of com.microsoft version 1. */
interface Kernel {
  readonly domain: OnnxNode['domain'];
  /** Of the first input that is not an index or a condition. */
  readonly dtypes: readonly OnnxDtype[];
  readonly rules: readonly Rule[];
  /** Dtype of the results; that of the first input by default. */
  readonly result?: (node: OnnxNode, known: Known) => OnnxDtype | undefined;
}

/**
 * Lists what would keep a graph from running on CUDA alone and with its fast kernels; empty for a graph that fits. Each
 * entry names a node and the rule that it breaks.
 * @see ONNX Runtime, docs/OperatorKernels.md and contrib_ops/cuda (diffusion, bert)
 */
export function cudaConstraintViolations(graph: OnnxGraph): string[] {
  const known = new Known(graph);
  return violationsOf(graph.nodes, known);
}

function violationsOf(nodes: readonly OnnxNode[], known: Known): string[] {
  return nodes.flatMap((node) => {
    const inner = branchesOf(node).flatMap((branch) => violationsOf(branch.nodes, known));
    const kernel = kernels[node.opType];
    known.learn(node, kernel?.result);
    if (!kernel || kernel.domain !== node.domain) {
      const domain = node.domain === '' ? 'ai.onnx' : node.domain;
      return [...inner, `${node.name}: ${domain} ${node.opType} is not among the operators that run on CUDA alone`];
    }
    const dtypeRule: Rule = {
      text: `its dtype must be one of ${kernel.dtypes.join(', ')}`,
      holds: () => kernel.dtypes.some((dtype) => dtype === known.dtype(node.outputs[0]!)),
    };
    const isDtypeFree = kernel.result !== undefined;
    const broken = [...(isDtypeFree ? [] : [dtypeRule]), ...kernel.rules].filter((rule) => !rule.holds(node, known));
    return [...inner, ...broken.map((rule) => `${node.name}: ${rule.text}`)];
  });
}

function branchesOf(node: OnnxNode): OnnxGraph[] {
  return Object.values(node.attributes).flatMap((attribute) => (attribute.type === 'graph' ? [attribute.value] : []));
}

const FLOATS: readonly OnnxDtype[] = ['float32', 'float16'];
const FLOATS_AND_BFLOAT16: readonly OnnxDtype[] = ['float32', 'float16', 'bfloat16'];
const ALL: readonly OnnxDtype[] = ['float32', 'float16', 'bfloat16', 'int64', 'bool'];
const MAX_HEAD_SIZE = 1024;

const oneDtype: Rule = {
  text: 'its inputs must be of one dtype',
  holds: ({ inputs }, known) =>
    new Set(inputs.filter((input) => input !== '').map((input) => known.dtype(input))).size === 1,
};

const constantInputs = (first: number, what: string): Rule => ({
  text: `${what} must be constant: the kernel reads them in main memory`,
  holds: ({ inputs }, known) => inputs.slice(first).every((input) => input === '' || known.int64(input) !== undefined),
});

const normParameters: Rule = {
  text: 'gamma and beta must be float32 vectors',
  holds: ({ inputs: [, ...parameters] }, known) =>
    parameters.slice(0, 2).every((name) => known.dtype(name) === 'float32' && known.dims(name)?.length === 1),
};

const groupNormRules: readonly Rule[] = [
  { text: 'channels_last must be 1', holds: ({ attributes }) => intOf(attributes['channels_last']) === 1 },
  {
    text: 'activation must be 0 or 1',
    holds: ({ attributes }) => [0, 1].includes(intOf(attributes['activation']) ?? Number.NaN),
  },
  normParameters,
  {
    text: `a group must have an even number of channels, at most ${GROUP_NORM_MAX_CHANNELS_PER_GROUP}`,
    holds: ({ inputs, attributes }, known) => {
      const size = (known.dims(inputs[1])?.[0] ?? Number.NaN) / (intOf(attributes['groups']) ?? Number.NaN);
      return size % 2 === 0 && size <= GROUP_NORM_MAX_CHANNELS_PER_GROUP;
    },
  },
];

const biasVector: Rule = {
  text: 'bias must be a vector of the same dtype as x',
  holds: ({ inputs: [x, bias] }, known) => known.dims(bias)?.length === 1 && known.dtype(bias) === known.dtype(x),
};

const plain = (dtypes: readonly OnnxDtype[], ...rules: Rule[]): Kernel => ({ domain: '', dtypes, rules });
const contrib = (dtypes: readonly OnnxDtype[], ...rules: Rule[]): Kernel => ({
  domain: 'com.microsoft',
  dtypes,
  rules,
});

const ARITHMETIC: readonly OnnxDtype[] = [...FLOATS_AND_BFLOAT16, 'int64'];

const kernels: Readonly<Record<string, Kernel>> = {
  Add: plain(ARITHMETIC, oneDtype),
  Sub: plain(ARITHMETIC, oneDtype),
  Mul: plain(ARITHMETIC, oneDtype),
  Div: plain(ARITHMETIC, oneDtype),
  Sigmoid: plain(FLOATS_AND_BFLOAT16),
  Relu: plain(FLOATS_AND_BFLOAT16),
  Sin: plain(FLOATS),
  Cos: plain(FLOATS),
  Gemm: plain(FLOATS_AND_BFLOAT16, oneDtype),
  Conv: plain(FLOATS, oneDtype),
  InstanceNormalization: plain(FLOATS, oneDtype),
  LayerNormalization: plain(FLOATS_AND_BFLOAT16, oneDtype),
  AveragePool: plain(FLOATS),
  Resize: plain(FLOATS, constantInputs(1, 'its scales and sizes'), {
    text: 'mode must be nearest',
    holds: ({ attributes }) => stringOf(attributes['mode']) === 'nearest',
  }),
  ReduceMean: plain(FLOATS, constantInputs(1, 'its axes')),
  Reshape: plain(ALL, constantInputs(1, 'its shape')),
  Expand: plain(ALL, constantInputs(1, 'its shape')),
  Slice: plain(ALL, constantInputs(1, 'its bounds')),
  Transpose: plain(ALL),
  Identity: plain(ALL),
  Split: plain(ALL),
  Concat: plain(ALL, oneDtype),
  Gather: plain(ALL, {
    text: 'its indices must be int64',
    holds: ({ inputs }, known) => known.dtype(inputs[1]) === 'int64',
  }),
  Cast: { ...plain(ALL), result: ({ attributes }) => dtypeOfNumber[intOf(attributes['to']) ?? 0] },
  Where: {
    ...plain(FLOATS_AND_BFLOAT16, {
      text: 'its choices must be of one dtype',
      holds: ({ inputs }, known) => known.dtype(inputs[1]) === known.dtype(inputs[2]),
    }),
    result: ({ inputs }, known) => known.dtype(inputs[1]),
  },
  If: {
    ...plain(ALL, {
      text: 'its condition must be a bool input of the graph: it is read in main memory',
      holds: ({ inputs }, known) => known.isGraphInput(inputs[0]) && known.dtype(inputs[0]) === 'bool',
    }),
    result: (node) => branchesOf(node)[0]?.outputs[0]?.dtype,
  },
  Gelu: contrib(FLOATS_AND_BFLOAT16),
  QuickGelu: contrib(FLOATS_AND_BFLOAT16),
  NhwcConv: contrib(
    FLOATS,
    oneDtype,
    {
      text: 'weight must be [M, kH, kW, C] with kernel_shape [kH, kW]',
      holds: ({ inputs, attributes }, known) => {
        const kernel = known.dims(inputs[1])?.slice(1, 3);
        return kernel?.length === 2 && String(kernel) === String(intsOf(attributes['kernel_shape']));
      },
    },
    { text: 'group must be 1', holds: ({ attributes }) => (intOf(attributes['group']) ?? 1) === 1 },
    {
      text: 'bias must have one value per output channel',
      holds: ({ inputs: [, weight, bias] }, known) =>
        bias === undefined || String(known.dims(bias)) === String(known.dims(weight)?.[0]),
    },
  ),
  GroupNorm: contrib(FLOATS, ...groupNormRules),
  SkipGroupNorm: contrib(FLOATS, ...groupNormRules, {
    text: 'skip must be of the same dtype as x',
    holds: ({ inputs }, known) => known.dtype(inputs[3]) === known.dtype(inputs[0]),
  }),
  BiasSplitGelu: contrib(FLOATS, biasVector, {
    text: `half of its features must be one of ${BIAS_SPLIT_GELU_WIDTHS.join(', ')}`,
    holds: ({ inputs }, known) => BIAS_SPLIT_GELU_WIDTHS.includes((known.dims(inputs[1])?.[0] ?? 0) / 2),
  }),
  BiasAdd: contrib(FLOATS, biasVector, oneDtype),
  SkipLayerNormalization: contrib(FLOATS_AND_BFLOAT16, oneDtype, {
    text: 'epsilon must be given: its default is 1e-12',
    holds: ({ attributes }) => attributes['epsilon'] !== undefined,
  }),
  MultiHeadAttention: contrib(
    FLOATS_AND_BFLOAT16,
    oneDtype,
    {
      text: 'query, key and value must be given apart',
      holds: ({ inputs }) => [0, 1, 2].every((i) => (inputs[i] ?? '') !== ''),
    },
    {
      text: `head size must be divisible by 8 and at most ${MAX_HEAD_SIZE}, else it stores all scores`,
      holds: ({ inputs, attributes }, known) => {
        const size = (known.dims(inputs[0])?.at(-1) ?? Number.NaN) / (intOf(attributes['num_heads']) ?? Number.NaN);
        return size % 8 === 0 && size <= MAX_HEAD_SIZE;
      },
    },
    {
      text: 'scale must be left out: the kernel for at most 128 keys does not read it',
      holds: ({ attributes }) => attributes['scale'] === undefined,
    },
  ),
};

/** TensorProto.DataType numbers of ONNX. */
const dtypeOfNumber: Readonly<Record<number, OnnxDtype>> = {
  1: 'float32',
  7: 'int64',
  9: 'bool',
  10: 'float16',
  16: 'bfloat16',
};

function intOf(attribute: OnnxAttribute | undefined): number | undefined {
  return attribute?.type === 'int' ? attribute.value : undefined;
}

function intsOf(attribute: OnnxAttribute | undefined): readonly number[] | undefined {
  return attribute?.type === 'ints' ? attribute.value : undefined;
}

function stringOf(attribute: OnnxAttribute | undefined): string | undefined {
  return attribute?.type === 'string' ? attribute.value : undefined;
}

/** Dims of a tensor; undefined where one is not known. */
type PartialDims = readonly (number | undefined)[];

/** What is known of the tensors of a graph, by name: dtypes of all, dims of those that the rules ask for. */
class Known {
  readonly #initializers: ReadonlyMap<string, OnnxInitializer>;
  readonly #inputs: ReadonlySet<string>;
  readonly #dtypes = new Map<string, OnnxDtype>();
  readonly #dims = new Map<string, PartialDims>();

  constructor(graph: OnnxGraph) {
    this.#initializers = new Map(graph.initializers.map((initializer) => [initializer.name, initializer]));
    this.#inputs = new Set(graph.inputs.map(({ name }) => name));
    for (const { name, dtype, dims } of [...graph.inputs, ...graph.initializers]) {
      this.#dtypes.set(name, dtype);
      if (dims) {
        this.#dims.set(
          name,
          dims.map((dim) => (typeof dim === 'number' ? dim : undefined)),
        );
      }
    }
  }

  /** Takes down the results of a node whose inputs are known. */
  learn(node: OnnxNode, result: Kernel['result']): void {
    const dtype = result ? result(node, this) : this.dtype(node.inputs[0]);
    const dims = this.#dimsOfResult(node);
    for (const output of node.outputs) {
      if (dtype) this.#dtypes.set(output, dtype);
      if (dims) this.#dims.set(output, dims);
    }
  }

  dtype(name: string | undefined): OnnxDtype | undefined {
    return name === undefined ? undefined : this.#dtypes.get(name);
  }

  dims(name: string | undefined): PartialDims | undefined {
    return name === undefined ? undefined : this.#dims.get(name);
  }

  isGraphInput(name: string | undefined): boolean {
    return name !== undefined && this.#inputs.has(name);
  }

  /** The values of an int64 initializer that is part of the model. */
  int64(name: string | undefined): number[] | undefined {
    const initializer = name === undefined ? undefined : this.#initializers.get(name);
    if (initializer?.dtype !== 'int64' || !(initializer.data instanceof Uint8Array)) return undefined;
    const { buffer, byteOffset, byteLength } = initializer.data;
    return Array.from(new BigInt64Array(buffer, byteOffset, byteLength / 8), Number);
  }

  #dimsOfResult({ opType, inputs, attributes }: OnnxNode): PartialDims | undefined {
    const dims = this.dims(inputs[0]);
    if (opType === 'Cast' || opType === 'Identity') return dims;
    if (opType === 'Transpose') return intsOf(attributes['perm'])?.map((axis) => dims?.[axis]);
    // 0 copies a dimension of the input and -1 is inferred.
    if (opType === 'Reshape') return this.int64(inputs[1])?.map((dim) => (dim > 0 ? dim : undefined));
    return undefined;
  }
}
