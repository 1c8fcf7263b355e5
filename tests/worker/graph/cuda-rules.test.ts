import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { cudaRules } from '../../../worker/graph/cuda-rules.ts';
import { type SymbolValues, symbol } from '../../../worker/graph/dim.ts';
import { type LowerRules, lowerGraph } from '../../../worker/graph/lowering.ts';
import { allNodes, type OnnxGraph } from '../../../worker/graph/onnx-graph.ts';
import { encodeOnnxModel } from '../../../worker/graph/onnx-model.ts';
import {
  add,
  flattenSpatial,
  geglu,
  groupNormalization,
  input,
  layerNormalization,
  linear,
  loraConv,
  loraLinear,
  reshape,
  unflattenSpatial,
} from '../../../worker/graph/operators.ts';
import { portableRules } from '../../../worker/graph/portable-rules.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import type { Value } from '../../../worker/graph/value.ts';
import { boolTensor, createSession, type Session } from '../../../worker/runtime/session.ts';
import { withoutCudaOperators } from '../../support/cuda-stand-ins.ts';
import { type GoldenStatistics, loadGolden } from '../../support/golden.ts';
import { expectGoldenResults, feedsOf, goldenCheckpoints, goldenRuns } from '../../support/golden-networks.ts';
import {
  type ClipFamily,
  lowerForCuda,
  publishedTextEncoder,
  publishedUnet,
  publishedVaeDecoder,
  trainedSizes,
} from '../../support/published-networks.ts';
import { floats, goldenInput } from '../../support/tiny-models.ts';

let golden: Record<string, GoldenStatistics>;
beforeAll(async () => {
  golden = await loadGolden('models.json');
});

async function lowerGolden(
  outputs: Record<string, Value>,
  rules: LowerRules,
  symbols: SymbolValues,
): Promise<OnnxGraph> {
  const checkpoints = await goldenCheckpoints(outputs);
  const findParameter = (component: string, name: string) => checkpoints[component]!.parameters.get(name)!;
  return lowerGraph(outputs, rules, { symbols, findParameter });
}

/** Runs on the CPU what was lowered for CUDA, with the fused operators spelled out. */
async function openOnCpu(
  outputs: Record<string, Value>,
  rules = cudaRules,
  symbols: SymbolValues = {},
): Promise<Session> {
  const graph = withoutCudaOperators(await lowerGolden(outputs, rules, symbols));
  const session = await createSession(encodeOnnxModel(graph), { device: 'cpu', threads: 1 });
  onTestFinished(() => session.dispose());
  return session;
}

function countOps(graph: OnnxGraph, ...opTypes: string[]): Record<string, number> {
  const nodes = allNodes(graph);
  return Object.fromEntries(opTypes.map((opType) => [opType, nodes.filter((node) => node.opType === opType).length]));
}

const FUSED = [
  'NhwcConv',
  'GroupNorm',
  'SkipGroupNorm',
  'MultiHeadAttention',
  'BiasSplitGelu',
  'BiasAdd',
  'SkipLayerNormalization',
  'LayerNormalization',
];

describe('the CUDA lowering matches the golden numbers', () => {
  // models.json is of diffusers 0.40.0.dev0, transformers 5.18.0 and torch 2.13 on the CPU in float32.
  const TOLERANCE = 1e-4;

  test.each(Object.entries(goldenRuns))('of the %s', async (_, run) => {
    const session = await openOnCpu(run.describe('float32'), cudaRules, run.symbols);
    expectGoldenResults(await session.run(feedsOf(run, session.inputNames)), golden, TOLERANCE);
  });

  test('where sizes are known at run time only', async () => {
    const run = goldenRuns['SD 1 UNet with sizes that do not halve evenly']!;
    const session = await openOnCpu(run.describe('float32'));
    expectGoldenResults(await session.run(feedsOf(run, session.inputNames)), golden, TOLERANCE);
  });
});

/** Compares both lowerings of one description on the same feeds. */
async function expectSameAsPortable(
  describeOutputs: () => Record<string, Value>,
  feeds: Parameters<Session['run']>[0],
) {
  const [cuda, portable] = await Promise.all(
    [cudaRules, portableRules].map(async (rules) => (await openOnCpu(describeOutputs(), rules)).run(feeds)),
  );
  for (const [name, expected] of Object.entries(portable!)) {
    expect(cuda![name]!.dims).toEqual(expected.dims);
    const wanted = floats(expected);
    const largest = Math.max(...wanted.map(Math.abs));
    const differences = floats(cuda![name]).map((value, i) => Math.abs(value - wanted[i]!));
    expect(Math.max(...differences), name).toBeLessThan(1e-5 * largest);
  }
}

describe('the CUDA lowering computes what the portable one does', () => {
  const scope = new Scope({ name: 'test', dtype: 'float32' });
  const [N, H, W, rank] = [symbol('N'), symbol('H'), symbol('W'), symbol('rank')];
  const picture = () => input('x', { shape: [N, 8, H, W], dtype: 'float32' });
  const lora = (name: string, down: number[], up: number[]) => ({
    enabled: input('enabled', { shape: [], dtype: 'bool' }),
    down: input(`${name}.down`, { shape: [rank, ...down], dtype: 'float32' }),
    up: input(`${name}.up`, { shape: [up[0]!, rank, ...up.slice(1)], dtype: 'float32' }),
  });
  const x = goldenInput('x', [2, 8, 6, 4]);

  test.each([true, false])('of low-rank updates that are on: %s', async (isEnabled) => {
    const describeOutputs = () => {
      const weight = scope.parameter('conv.weight', [8, 8, 3, 3]);
      const attributes = { strides: [2, 1], pads: [1, 1, 1, 1] } as const;
      const updated = loraConv(picture(), weight, scope.parameter('conv.bias', [8]), {
        ...attributes,
        lora: lora('conv', [8, 3, 3], [8, 1, 1]),
      });
      const flat = flattenSpatial(updated);
      const [wide, narrow] = [scope.parameter('wide.weight', [2560, 8]), scope.parameter('narrow.weight', [8, 1280])];
      const gated = geglu(loraLinear(flat, wide, scope.parameter('wide.bias', [2560]), lora('wide', [8], [2560])));
      const sum = add(
        loraLinear(gated, narrow, scope.parameter('narrow.bias', [8]), lora('narrow', [1280], [8])),
        flat,
      );
      return { out: unflattenSpatial(sum, updated.shape[2]!, updated.shape[3]!) };
    };
    await expectSameAsPortable(describeOutputs, {
      x,
      enabled: boolTensor(isEnabled),
      'conv.down': goldenInput('a', [2, 8, 3, 3]),
      'conv.up': goldenInput('b', [8, 2, 1, 1]),
      'wide.down': goldenInput('c', [2, 8]),
      'wide.up': goldenInput('d', [2560, 2]),
      'narrow.down': goldenInput('e', [2, 1280]),
      'narrow.up': goldenInput('f', [8, 2]),
    });
  });

  test('of a gated projection that is as wide as the kernel wants it, in float32 with its bias', async () => {
    const describeOutputs = () => {
      const projected = linear(
        flattenSpatial(picture()),
        scope.parameter('proj.weight', [2560, 8]),
        scope.parameter('proj.bias', [2560]),
      );
      return { out: geglu(projected) };
    };
    expect(countOps(await lowerGolden(describeOutputs(), cudaRules, {}), 'BiasSplitGelu', 'Split')).toEqual({
      BiasSplitGelu: 1,
      Split: 0,
    });
    await expectSameAsPortable(describeOutputs, { x });
  });

  test('of sums that a norm, other operators and an output read', async () => {
    const describeOutputs = () => {
      const [weight, bias] = [scope.parameter('norm.weight', [8]), scope.parameter('norm.bias', [8])];
      const norm = { numGroups: 2, epsilon: 1e-5, activation: undefined };
      const perChannel = reshape(input('t', { shape: [N, 8], dtype: 'float32' }), [N, 8, 1, 1]);
      const shifted = add(perChannel, picture());
      const doubled = add(shifted, shifted);
      const tokens = flattenSpatial(groupNormalization(doubled, weight, bias, norm));
      const sum = add(tokens, flattenSpatial(shifted));
      const [gamma, beta] = [scope.parameter('ln.weight', [8]), scope.parameter('ln.bias', [8])];
      return { shifted, sum, normalized: layerNormalization(sum, gamma, beta, 1e-5), odd: oddGroups(doubled) };
    };
    // One channel per group has no fused kernel.
    const oddGroups = (value: Value) =>
      groupNormalization(value, scope.parameter('odd.weight', [8]), scope.parameter('odd.bias', [8]), {
        numGroups: 8,
        epsilon: 1e-5,
        activation: 'silu',
      });
    await expectSameAsPortable(describeOutputs, { x, t: goldenInput('t', [2, 8]) });
  });
});

describe('the CUDA lowering fuses', () => {
  // Counted by hand in the architecture: 22 resnets with two norms each, 16 transformers of one block, one last norm.
  const SD_UNET = {
    NhwcConv: 66,
    GroupNorm: 16,
    SkipGroupNorm: 45,
    MultiHeadAttention: 32,
    BiasSplitGelu: 16,
    BiasAdd: 16,
    SkipLayerNormalization: 32,
    LayerNormalization: 16,
  };

  test.each(['SD 1.5', 'SD 2.1'] as const)('everything in the %s UNet', (family) => {
    expect(countOps(lowerForCuda(publishedUnet(family), trainedSizes[family]), ...FUSED)).toEqual(SD_UNET);
  });

  test('everything in the SD 1.5 UNet with a ControlNet and a T2I-Adapter', () => {
    const graph = lowerForCuda(publishedUnet('SD 1.5', { isControlled: true }), trainedSizes['SD 1.5']);
    expect(countOps(graph, ...FUSED)).toEqual({
      NhwcConv: 66 + 47 + 19,
      GroupNorm: 16 + 3,
      SkipGroupNorm: 45 + 24,
      MultiHeadAttention: 32 + 14,
      BiasSplitGelu: 16 + 7,
      BiasAdd: 16 + 7,
      SkipLayerNormalization: 32 + 14,
      LayerNormalization: 16 + 7,
    });
  });

  test('everything in the SDXL UNet', () => {
    expect(countOps(lowerForCuda(publishedUnet('SDXL'), trainedSizes.SDXL), ...FUSED)).toEqual({
      NhwcConv: 51,
      GroupNorm: 12,
      SkipGroupNorm: 34,
      MultiHeadAttention: 140,
      BiasSplitGelu: 70,
      BiasAdd: 11,
      SkipLayerNormalization: 199,
      LayerNormalization: 11,
    });
  });

  test('everything in the VAE decoder', () => {
    const graph = lowerForCuda(publishedVaeDecoder('float16'), trainedSizes['SD 1.5']);
    expect(countOps(graph, ...FUSED)).toEqual({
      NhwcConv: 36,
      GroupNorm: 18,
      SkipGroupNorm: 12,
      MultiHeadAttention: 1,
      BiasSplitGelu: 0,
      BiasAdd: 0,
      SkipLayerNormalization: 0,
      LayerNormalization: 0,
    });
  });

  test.each([
    ['CLIP ViT-L', 12],
    ['OpenCLIP ViT-H', 23],
    ['OpenCLIP ViT-bigG', 32],
  ] as [ClipFamily, number][])('every residual of %s', (family, layers) => {
    const graph = lowerForCuda(publishedTextEncoder(family), { batch: 2 });
    // Only the first norm has no residual before it: it follows the embeddings.
    expect(countOps(graph, 'MultiHeadAttention', 'SkipLayerNormalization', 'LayerNormalization')).toEqual({
      MultiHeadAttention: layers,
      SkipLayerNormalization: 2 * layers,
      LayerNormalization: 1,
    });
  });

  test.each(['SD 1.5', 'SD 2.1', 'SDXL'] as const)(
    'the %s UNet with few transposes and no shape arithmetic where sizes are fixed',
    (family) => {
      const graph = lowerForCuda(publishedUnet(family), trainedSizes[family]);
      expect(countOps(graph, 'Shape', 'Conv', 'InstanceNormalization', 'Split')).toEqual({
        Shape: 0,
        Conv: 0,
        InstanceNormalization: 0,
        Split: 0,
      });
      const weights = new Set(graph.initializers.map(({ name }) => name));
      const isFolded = (name: string) =>
        weights.has(name) || graph.nodes.some((node) => node.outputs[0] === name && weights.has(node.inputs[0]!));
      const transposes = graph.nodes.filter(({ opType, inputs }) => opType === 'Transpose' && !isFolded(inputs[0]!));
      // Into channels last at the sample, out of it at the prediction.
      expect(transposes).toHaveLength(2);
    },
  );
});

describe('ONNX Runtime accepts the graph for CUDA and lacks only its kernels on the CPU', () => {
  const NO_KERNEL =
    /^(?:Could not find an implementation for |Failed to find kernel for com\.microsoft\.)(?:NhwcConv|GroupNorm|SkipGroupNorm|BiasAdd|BiasSplitGelu)\(1\)/;

  const names = ['SD 1 UNet', 'SDXL UNet', 'SD 1 ControlNet', 'full T2I-Adapter', 'VAE encoder', 'VAE decoder'];
  const cases = names.flatMap((name) => (['float32', 'float16'] as const).map((dtype) => [name, dtype] as const));

  test.each(cases)('in the %s in %s', async (name, dtype) => {
    const run = goldenRuns[name]!;
    const graph = await lowerGolden(run.describe(dtype), cudaRules, run.symbols);
    await expect(createSession(encodeOnnxModel(graph), { device: 'cpu' })).rejects.toThrow(NO_KERNEL);
  });

  test('and refuses it as invalid where a fused operator is given a wrong tensor', async () => {
    const run = goldenRuns['SD 1 UNet']!;
    const graph = await lowerGolden(run.describe('float32'), cudaRules, run.symbols);
    const nodes = graph.nodes.map((node) =>
      node.opType === 'BiasAdd' ? { ...node, inputs: node.inputs.slice(0, 2) } : node,
    );
    await expect(createSession(encodeOnnxModel({ ...graph, nodes }), { device: 'cpu' })).rejects.not.toThrow(NO_KERNEL);
  });
});
