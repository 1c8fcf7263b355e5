import { describe, expect, onTestFinished, test } from 'vitest';
import {
  addDims,
  type Dim,
  floorDivideDim,
  multiplyDims,
  type SymbolValues,
  symbol,
} from '../../../worker/graph/dim.ts';
import { lowerGraph } from '../../../worker/graph/lowering.ts';
import { allNodes, type OnnxGraph } from '../../../worker/graph/onnx-graph.ts';
import { encodeOnnxModel } from '../../../worker/graph/onnx-model.ts';
import {
  attention,
  averagePool2x2,
  concat,
  constant,
  expand,
  flattenSpatial,
  gather,
  input,
  loraConv,
  loraLinear,
  pixelUnshuffle,
  reshape,
  resizeNearest,
  slice,
  unflattenSpatial,
  where,
} from '../../../worker/graph/operators.ts';
import { portableRules } from '../../../worker/graph/portable-rules.ts';
import { parametersOf, type Value } from '../../../worker/graph/value.ts';
import { describeDenoiser } from '../../../worker/networks/denoiser.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import {
  boolTensor,
  createSession,
  float32Tensor,
  int64Tensor,
  type Session,
  type Tensor,
} from '../../../worker/runtime/session.ts';
import { goldenTensor } from '../../support/golden.ts';
import * as reference from '../../support/reference-arrays.ts';
import { floats, tinyConfigs } from '../../support/tiny-models.ts';

const { array, at } = reference;
type NumberArray = reference.NumberArray;

function lower(outputs: Readonly<Record<string, Value>>, symbols: SymbolValues = {}): OnnxGraph {
  const findParameter = (component: string, name: string) => {
    throw new Error(`Cannot find ${component} ${name}: the graph must have no parameters`);
  };
  return lowerGraph(outputs, portableRules, { symbols, findParameter });
}

async function open(graph: OnnxGraph): Promise<Session> {
  const session = await createSession(encodeOnnxModel(graph), { device: 'cpu', threads: 1 });
  onTestFinished(() => session.dispose());
  return session;
}

const [n, h, w, p, q, s, t, r] = ['n', 'h', 'w', 'p', 'q', 's', 't', 'r'].map(symbol) as [
  Dim,
  Dim,
  Dim,
  Dim,
  Dim,
  Dim,
  Dim,
  Dim,
];
const twice = (dim: Dim) => multiplyDims(2, dim);
const f32 = (name: string, ...shape: Dim[]) => input(name, { shape, dtype: 'float32' });

const x = f32('x', n, 4, twice(h), twice(w));
const odd = f32('odd', n, 2, p, q);
const image = f32('image', n, 3, multiplyDims(4, h), multiplyDims(4, w));
const query = f32('query', n, s, 8);
const context = f32('context', n, t, 8);
const isLearned = input('is_learned', { shape: [n, s, 1], dtype: 'bool' });
const ids = input('ids', { shape: [n, s], dtype: 'int64' });
const enabled = input('enabled', { shape: [], dtype: 'bool' });
const downLinear = f32('down_linear', r, 8);
const upLinear = f32('up_linear', 6, r);
const downConv = f32('down_conv', r, 4, 3, 3);
const upConv = f32('up_conv', 5, r, 1, 1);

/** A constant of the graph with its numbers. */
function fixed(name: string, ...dims: number[]): { value: Value; numbers: NumberArray } {
  const data = [...goldenTensor(`in:${name}`, dims)];
  return { value: constant(data, dims, 'float32'), numbers: { dims, data } };
}
const [table, row, weight, bias] = [fixed('table', 7, 8), fixed('row', 8), fixed('weight', 6, 8), fixed('bias', 6)];
const [kernel, kernelBias, pixel] = [fixed('kernel', 5, 4, 3, 3), fixed('kernel_bias', 5), fixed('pixel', 4, 1, 1)];
const stride2 = { strides: [2, 2], pads: [1, 1, 1, 1] } as const;

type Sizes = Record<'n' | 'h' | 'w' | 'p' | 'q' | 's' | 't' | 'r', number>;
type Feeds = Record<string, NumberArray>;
interface Case {
  readonly value: Value;
  readonly expected: (feeds: Feeds, sizes: Sizes) => NumberArray;
}

const attentionWithBias = (name: string, ...shape: Dim[]): Case => ({
  value: attention(query, context, context, { numHeads: 2, bias: f32(name, ...shape) }),
  expected: (feeds) =>
    reference.attention(feeds['query']!, feeds['context']!, { numHeads: 2, bias: (...i) => at(feeds[name]!, ...i) }),
});

const cases: Readonly<Record<string, Case>> = {
  reshape: {
    value: reshape(x, [twice(n), h, 4, twice(w)]),
    expected: ({ x: { data } = missing }, sizes) => ({ dims: [2 * sizes.n, sizes.h, 4, 2 * sizes.w], data }),
  },
  flatten: {
    value: flattenSpatial(x),
    expected: (feeds, sizes) =>
      array([sizes.n, 4 * sizes.h * sizes.w, 4], (i, position, channel) =>
        at(feeds['x']!, i, channel, Math.floor(position / (2 * sizes.w)), position % (2 * sizes.w)),
      ),
  },
  unflatten: {
    value: unflattenSpatial(flattenSpatial(x), twice(w), twice(h)),
    expected: (feeds, sizes) =>
      array([sizes.n, 4, 2 * sizes.w, 2 * sizes.h], (i, channel, y, column) => {
        const position = y * 2 * sizes.h + column;
        return at(feeds['x']!, i, channel, Math.floor(position / (2 * sizes.w)), position % (2 * sizes.w));
      }),
  },
  resize: {
    value: resizeNearest(x, multiplyDims(3, h), addDims(multiplyDims(4, w), -1)),
    expected: (feeds, { n, h, w }) =>
      array([n, 4, 3 * h, 4 * w - 1], (i, channel, y, column) =>
        at(feeds['x']!, i, channel, Math.floor((y * 2) / 3), Math.floor((column * 2 * w) / (4 * w - 1))),
      ),
  },
  slice: {
    value: slice(slice(x, 2, [h, twice(h)]), 3, [floorDivideDim(w, 2), addDims(w, 1)]),
    expected: (feeds, { n, h, w }) =>
      array([n, 4, h, w + 1 - Math.floor(w / 2)], (i, channel, y, column) =>
        at(feeds['x']!, i, channel, h + y, Math.floor(w / 2) + column),
      ),
  },
  concat: {
    value: concat([slice(x, 2, [h, twice(h)]), x], 2),
    expected: (feeds, { n, h, w }) =>
      array([n, 4, 3 * h, 2 * w], (i, channel, y, column) =>
        at(feeds['x']!, i, channel, y < h ? h + y : y - h, column),
      ),
  },
  expand: {
    value: expand(pixel.value, [n, 4, twice(h), q]),
    expected: (_, { n, h, q }) => array([n, 4, 2 * h, q], (_i, channel) => at(pixel.numbers, channel, 0, 0)),
  },
  attention: {
    value: attention(query, context, context, { numHeads: 4 }),
    expected: (feeds) => reference.attention(feeds['query']!, feeds['context']!, { numHeads: 4, bias: () => 0 }),
  },
  causal: {
    value: attention(query, query, query, { numHeads: 2, isCausal: true }),
    expected: (feeds) =>
      reference.attention(feeds['query']!, feeds['query']!, {
        numHeads: 2,
        bias: (_n, _head, position, other) => (other > position ? Number.NEGATIVE_INFINITY : 0),
      }),
  },
  keyBias: attentionWithBias('key_bias', n, 1, 1, t),
  wholeBias: attentionWithBias('whole_bias', n, 2, s, t),
  sharedBias: attentionWithBias('shared_bias', 1, 1, s, t),
  headBias: attentionWithBias('head_bias', 1, 2, 1, t),
  queryBias: attentionWithBias('query_bias', n, 2, s, 1),
  unshuffle: {
    value: pixelUnshuffle(image, 4),
    expected: (feeds, { n, h, w }) =>
      array([n, 48, h, w], (i, channel, y, column) => {
        const [dy, dx] = [Math.floor(channel / 4) % 4, channel % 4];
        return at(feeds['image']!, i, Math.floor(channel / 16), 4 * y + dy, 4 * column + dx);
      }),
  },
  average: {
    value: averagePool2x2(odd),
    expected: (feeds, { n, p, q }) =>
      array([n, 2, Math.ceil(p / 2), Math.ceil(q / 2)], (i, channel, y, column) => {
        const rows = [2 * y, 2 * y + 1].filter((k) => k < p);
        const columns = [2 * column, 2 * column + 1].filter((k) => k < q);
        const values = rows.flatMap((a) => columns.map((b) => at(feeds['odd']!, i, channel, a, b)));
        return values.reduce((sum, value) => sum + value, 0) / values.length;
      }),
  },
  where: {
    value: where(isLearned, row.value, gather(table.value, ids)),
    expected: (feeds, { n, s }) =>
      array([n, s, 8], (i, position, feature) =>
        at(feeds['is_learned']!, i, position, 0)
          ? at(row.numbers, feature)
          : at(table.numbers, at(feeds['ids']!, i, position), feature),
      ),
  },
  loraLinear: {
    value: loraLinear(query, weight.value, bias.value, { enabled, down: downLinear, up: upLinear }),
    expected: (feeds, { n, s, r }) =>
      array([n, s, 6], (i, position, out) => {
        const source = (feature: number) => at(feeds['query']!, i, position, feature);
        const base = reference.sum(8, (feature) => source(feature) * at(weight.numbers, out, feature));
        const update = reference.sum(
          r,
          (k) =>
            at(feeds['up_linear']!, out, k) *
            reference.sum(8, (feature) => source(feature) * at(feeds['down_linear']!, k, feature)),
        );
        return base + at(bias.numbers, out) + feeds['enabled']!.data[0]! * update;
      }),
  },
  loraLinearWithoutBias: {
    value: loraLinear(query, weight.value, undefined, { enabled, down: downLinear, up: upLinear }),
    expected: (feeds, sizes) =>
      array([sizes.n, sizes.s, 6], (i, position, out) => {
        return at(cases['loraLinear']!.expected(feeds, sizes), i, position, out) - at(bias.numbers, out);
      }),
  },
  loraConv: {
    value: loraConv(x, kernel.value, kernelBias.value, { ...stride2, lora: { enabled, down: downConv, up: upConv } }),
    expected: (feeds, { r }) => {
      const base = reference.conv(feeds['x']!, kernel.numbers, stride2);
      const low = reference.conv(feeds['x']!, feeds['down_conv']!, stride2);
      return array(base.dims, (i, out, y, column) => {
        const update = reference.sum(r, (k) => at(feeds['up_conv']!, out, k, 0, 0) * at(low, i, k, y, column));
        return at(base, i, out, y, column) + at(kernelBias.numbers, out) + feeds['enabled']!.data[0]! * update;
      });
    },
  },
};

const missing: NumberArray = { dims: [], data: [] };
const outputs = Object.fromEntries(Object.entries(cases).map(([name, { value }]) => [name, value]));

function feedsOf(sizes: Sizes, isEnabled: boolean): { numbers: Feeds; tensors: Record<string, Tensor> } {
  const { n, h, w, p, q, s, t, r } = sizes;
  const dims: Record<string, number[]> = {
    x: [n, 4, 2 * h, 2 * w],
    odd: [n, 2, p, q],
    image: [n, 3, 4 * h, 4 * w],
    query: [n, s, 8],
    context: [n, t, 8],
    key_bias: [n, 1, 1, t],
    whole_bias: [n, 2, s, t],
    shared_bias: [1, 1, s, t],
    head_bias: [1, 2, 1, t],
    query_bias: [n, 2, s, 1],
    down_linear: [r, 8],
    up_linear: [6, r],
    down_conv: [r, 4, 3, 3],
    up_conv: [5, r, 1, 1],
  };
  const random = Object.entries(dims).map(
    ([name, shape]) => [name, { dims: shape, data: goldenTensor(`in:${name}`, shape) }] as const,
  );
  const idValues = Array.from({ length: n * s }, (_, i) => (i * 5) % 7);
  const flags = Array.from({ length: n * s }, (_, i) => i % 2);
  return {
    numbers: {
      ...Object.fromEntries(random.map(([name, { dims, data }]) => [name, { dims, data: [...data] }])),
      ids: { dims: [n, s], data: idValues },
      is_learned: { dims: [n, s, 1], data: flags },
      enabled: { dims: [], data: [Number(isEnabled)] },
    },
    tensors: {
      ...Object.fromEntries(random.map(([name, { dims, data }]) => [name, float32Tensor(data, dims)])),
      ids: int64Tensor(idValues, [n, s]),
      is_learned: { dtype: 'bool', dims: [n, s, 1], data: Uint8Array.from(flags) },
      enabled: boolTensor(isEnabled),
    },
  };
}

async function expectReferences(session: Session, sizes: Sizes, isEnabled: boolean): Promise<void> {
  const { numbers, tensors } = feedsOf(sizes, isEnabled);
  const results = await session.run(tensors);
  for (const [name, { expected }] of Object.entries(cases)) {
    const { dims, data } = expected(numbers, sizes);
    const context = `${name} at ${JSON.stringify(sizes)}`;
    expect(results[name]!.dims, context).toEqual(dims);
    const worst = Math.max(...floats(results[name]).map((value, i) => Math.abs(value - data[i]!)));
    expect(worst, context).toBeLessThan(2e-5);
  }
}

const SIZES: readonly Sizes[] = [
  { n: 1, h: 1, w: 1, p: 1, q: 1, s: 1, t: 1, r: 1 },
  { n: 2, h: 2, w: 3, p: 5, q: 4, s: 3, t: 5, r: 2 },
  { n: 3, h: 3, w: 2, p: 7, q: 9, s: 4, t: 2, r: 9 },
];

describe('graph computes what its operators say', () => {
  test('in one session for all sizes when sizes are symbols', async () => {
    const session = await open(lower(outputs));
    for (const sizes of SIZES) {
      for (const isEnabled of [true, false]) await expectReferences(session, sizes, isEnabled);
    }
  });

  test.each(SIZES)('without asking for shapes when all symbols are fixed to %o', async (sizes) => {
    const graph = lower(outputs, sizes);
    expect(allNodes(graph).map(({ opType }) => opType)).not.toContain('Shape');
    const session = await open(graph);
    for (const isEnabled of [true, false]) await expectReferences(session, sizes, isEnabled);
  });

  test('when some symbols are fixed', async () => {
    const session = await open(lower(outputs, { n: 2, r: 3 }));
    for (const sizes of SIZES) await expectReferences(session, { ...sizes, n: 2, r: 3 }, true);
  });
});

test('graph is refused when no input gives a symbol', () => {
  const flat = f32('flat', multiplyDims(h, w));
  expect(() => lower({ out: reshape(flat, [h, w]) })).toThrow('no input has a dimension that gives');
  expect(lower({ out: reshape(flat, [h, w]) }, { h: 2, w: 3 }).inputs[0]!.dims).toEqual([6]);
});

describe('graph is no larger than what its outputs need', () => {
  const denoiser = describeDenoiser({
    unet: parseUnetConfig(tinyConfigs['unet-sd2']),
    isGuided: true,
    dtype: 'float16',
    vaeScaleFactor: 8,
    takesLora: true,
  });
  const graph = lowerGraph({ noise_pred: denoiser.noisePred }, portableRules, {
    findParameter: () => ({ dtype: 'F32', file: '/weights', offset: 0, sizeBytes: 4 }),
  });
  const nodes = allNodes(graph);
  const read = new Set(nodes.flatMap(({ inputs }) => inputs));

  test('so that each node, initializer and input is read', () => {
    const results = new Set(
      nodes
        .flatMap(({ attributes }) => Object.values(attributes))
        .flatMap((attribute) => (attribute.type === 'graph' ? attribute.value.outputs : []))
        .concat(graph.outputs)
        .map(({ name }) => name),
    );
    const made = nodes.flatMap(({ outputs }) => outputs).filter((name) => name !== '');
    expect(made.filter((name) => !read.has(name) && !results.has(name))).toEqual([]);
    expect(graph.initializers.filter(({ name }) => !read.has(name))).toEqual([]);
    expect(graph.inputs.filter(({ name }) => !read.has(name))).toEqual([]);
  });

  test('and every name is given once', () => {
    const made = [
      ...nodes.flatMap(({ outputs }) => outputs),
      ...graph.inputs.map(({ name }) => name),
      ...graph.initializers.map(({ name }) => name),
    ];
    const named = made.filter((name) => name !== '');
    expect(new Set(named).size).toBe(named.length);
    expect(new Set(nodes.map(({ name }) => name)).size).toBe(nodes.length);
  });

  test('and stored tensors are referred to once each', () => {
    const stored = [...parametersOf([denoiser.noisePred]).get('unet')!.keys()];
    const external = graph.initializers.filter(({ data }) => !(data instanceof Uint8Array));
    expect(external.map(({ name }) => name).sort()).toEqual(stored.map((name) => `unet:${name}`).sort());
  });
});
