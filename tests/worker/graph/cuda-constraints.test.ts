import { describe, expect, test } from 'vitest';
import { cudaConstraintViolations } from '../../../worker/graph/cuda-constraints.ts';
import { float, int, ints, type OnnxGraph, type OnnxNode } from '../../../worker/graph/onnx-graph.ts';
import {
  type ClipFamily,
  lowerForCuda,
  publishedTextEncoder,
  publishedUnet,
  publishedVaeDecoder,
  trainedSizes,
} from '../../support/published-networks.ts';

describe('the graph for CUDA keeps every rule of the kernels', () => {
  test.each(['SD 1.5', 'SD 2.1', 'SDXL'] as const)('in the %s UNet with ControlNet and T2I-Adapter', (family) => {
    const graph = lowerForCuda(publishedUnet(family, { isControlled: true }), trainedSizes[family]);
    expect(cudaConstraintViolations(graph)).toEqual([]);
  });

  test.each(['float32', 'float16'] as const)('in the SD 1.5 UNet in %s with low-rank updates', (dtype) => {
    const graph = lowerForCuda(publishedUnet('SD 1.5', { dtype, hasLora: true }), trainedSizes['SD 1.5']);
    expect(cudaConstraintViolations(graph)).toEqual([]);
  });

  test.each(['float32', 'float16'] as const)('in the VAE decoder in %s', (dtype) => {
    const graph = lowerForCuda(publishedVaeDecoder(dtype), trainedSizes['SD 1.5']);
    expect(cudaConstraintViolations(graph)).toEqual([]);
  });

  test.each(['CLIP ViT-L', 'OpenCLIP ViT-H', 'OpenCLIP ViT-bigG'] as ClipFamily[])('in %s', (family) => {
    expect(cudaConstraintViolations(lowerForCuda(publishedTextEncoder(family), { batch: 2 }))).toEqual([]);
  });
});

const controlled = lowerForCuda(publishedUnet('SD 1.5', { isControlled: true }), trainedSizes['SD 1.5']);
const withLora = lowerForCuda(publishedUnet('SD 1.5', { hasLora: true }), trainedSizes['SD 1.5']);

/** The graph with its first node of a type replaced. */
function withFirst(graph: OnnxGraph, opType: string, change: (node: OnnxNode) => Partial<OnnxNode>): OnnxGraph {
  const index = graph.nodes.findIndex((node) => node.opType === opType);
  return { ...graph, nodes: graph.nodes.map((node, i) => (i === index ? { ...node, ...change(node) } : node)) };
}

const withAttribute = (attributes: OnnxNode['attributes']) => (node: OnnxNode) => ({
  attributes: { ...node.attributes, ...attributes },
});
const withInput = (index: number, name: string) => (node: OnnxNode) => ({ inputs: node.inputs.with(index, name) });

const FLOAT32_INPUT = 'timestep';
const FLOAT16_WEIGHT = 'unet:conv_in.bias';
const BFLOAT16_CONSTANT = 'bfloat16';
const FLOAT32_MATRIX = 'matrix';
const INTEGER_CONSTANT = 'integer';

/** Each breaks one thing: the operator, the rule that the text must name, and the change. */
const broken: [opType: string, rule: RegExp, change: (node: OnnxNode) => Partial<OnnxNode>][] = [
  ['Gemm', /ai\.onnx Pad is not among the operators/, () => ({ opType: 'Pad' })],
  ['Reshape', /ai\.onnx Shape is not among the operators/, () => ({ opType: 'Shape' })],
  ['NhwcConv', /ai\.onnx NhwcConv is not among/, () => ({ domain: '' })],
  ['NhwcConv', /weight must be \[M, kH, kW, C\]/, withInput(1, 'unet:conv_in.weight')],
  ['NhwcConv', /weight must be \[M, kH, kW, C\]/, withAttribute({ kernel_shape: ints(3, 1) })],
  ['NhwcConv', /group must be 1/, withAttribute({ group: int(2) })],
  ['NhwcConv', /bias must have one value per output channel/, withInput(2, 'unet:conv_out.bias')],
  ['NhwcConv', /inputs must be of one dtype/, withInput(0, FLOAT32_INPUT)],
  ['GroupNorm', /channels_last must be 1/, withAttribute({ channels_last: int(0) })],
  ['GroupNorm', /activation must be 0 or 1/, withAttribute({ activation: int(2) })],
  ['GroupNorm', /gamma and beta must be float32 vectors/, withInput(1, FLOAT16_WEIGHT)],
  ['GroupNorm', /gamma and beta must be float32 vectors/, withInput(2, FLOAT32_MATRIX)],
  ['GroupNorm', /an even number of channels/, withAttribute({ groups: int(64) })],
  ['GroupNorm', /dtype must be one of float32, float16/, withInput(0, BFLOAT16_CONSTANT)],
  ['SkipGroupNorm', /an even number of channels/, withAttribute({ groups: int(320) })],
  ['SkipGroupNorm', /skip must be of the same dtype/, withInput(3, FLOAT32_INPUT)],
  ['BiasSplitGelu', /half of its features must be one of 1280/, withInput(1, FLOAT16_WEIGHT)],
  ['BiasSplitGelu', /bias must be a vector of the same dtype/, withInput(1, FLOAT32_MATRIX)],
  ['BiasAdd', /bias must be a vector/, withInput(1, 'unet:conv_in.weight')],
  ['SkipLayerNormalization', /inputs must be of one dtype/, withInput(2, FLOAT32_INPUT)],
  ['SkipLayerNormalization', /epsilon must be given/, () => ({ attributes: {} })],
  ['LayerNormalization', /inputs must be of one dtype/, withInput(1, FLOAT32_INPUT)],
  ['MultiHeadAttention', /head size must be divisible by 8/, withAttribute({ num_heads: int(32) })],
  ['MultiHeadAttention', /head size must be divisible by 8/, withAttribute({ num_heads: int(0) })],
  ['MultiHeadAttention', /must be given apart/, ({ inputs }) => ({ inputs: [inputs[0]!] })],
  ['MultiHeadAttention', /scale must be left out/, withAttribute({ scale: float(1) })],
  ['Gemm', /inputs must be of one dtype/, withInput(1, FLOAT32_MATRIX)],
  ['Reshape', /its shape must be constant/, withInput(1, FLOAT32_INPUT)],
  ['Resize', /its scales and sizes must be constant/, withInput(3, FLOAT32_INPUT)],
  ['Resize', /mode must be nearest/, withAttribute({ mode: { type: 'string', value: 'linear' } })],
  ['Concat', /inputs must be of one dtype/, withInput(0, BFLOAT16_CONSTANT)],
  ['QuickGelu', /dtype must be one of/, withInput(0, INTEGER_CONSTANT)],
  ['AveragePool', /dtype must be one of float32, float16/, withInput(0, BFLOAT16_CONSTANT)],
];

describe('a graph that breaks a rule is told of it', () => {
  const extended: OnnxGraph = {
    ...controlled,
    initializers: [
      ...controlled.initializers,
      { name: BFLOAT16_CONSTANT, dtype: 'bfloat16', dims: [1], data: new Uint8Array(2) },
      { name: FLOAT32_MATRIX, dtype: 'float32', dims: [2, 2], data: new Uint8Array(16) },
      { name: INTEGER_CONSTANT, dtype: 'int64', dims: [1], data: new Uint8Array(8) },
    ],
  };

  test.each(broken)('in %s: %s', (opType, rule, change) => {
    const node = extended.nodes.find((candidate) => candidate.opType === opType)!;
    const violations = cudaConstraintViolations(withFirst(extended, opType, change));
    expect(violations.filter((text) => text.startsWith(`${node.name}: `)).join('\n')).toMatch(rule);
  });

  test('when the condition of an If is computed on the device', () => {
    const graph = withFirst(withLora, 'If', withInput(0, 'somewhere'));
    expect(cudaConstraintViolations(graph)[0]).toMatch(/^If_\d+: its condition must be a bool input of the graph/);
  });

  test('when the node lies inside a branch', () => {
    const graph = withFirst(withLora, 'If', ({ attributes }) => {
      const branch = attributes['then_branch'];
      if (branch?.type !== 'graph') throw new Error('Cannot break the branch: it must be a graph');
      const value = withFirst(branch.value, 'NhwcConv', () => ({ domain: '' }));
      return { attributes: { ...attributes, then_branch: { type: 'graph', value } } };
    });
    expect(cudaConstraintViolations(graph)).toEqual([
      expect.stringMatching(/^NhwcConv_\d+: ai\.onnx NhwcConv is not among the operators that run on CUDA alone$/),
    ]);
  });

  test('when a size is known at run time only', () => {
    const graph = lowerForCuda(publishedUnet('SD 1.5'), { batch: 2 });
    expect(cudaConstraintViolations(graph)).toContainEqual(expect.stringMatching(/^Shape_\d+: ai\.onnx Shape is not/));
  });
});
