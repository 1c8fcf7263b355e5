import { executionOrder } from './execution-order.ts';
import { loopNames } from './loop.ts';
import { namesRead, type OnnxGraph, type OnnxInitializer, type OnnxNode } from './onnx-graph.ts';
import { inferTypes, type OnnxType, sizeBytes } from './onnx-shapes.ts';
import type { Value, ValueOf } from './value.ts';

/** The memory that a run of a graph, or of one step of its Loop, needs beside what is fed. */
export interface GraphMemory {
  /** The most that results of nodes take at once; of a Loop the state after the step is among them. */
  readonly liveBytes: number;
  /** Computed once, when the session is created, from stored tensors alone, and kept. */
  readonly foldedBytes: number;
  /** Of everything that is computed on the way there. */
  readonly foldingBytes: number;
  /** Stored tensors that are read where they lie. */
  readonly storedBytes: number;
  readonly nodeCount: number;
}

/**
 * Follows the results of a graph's nodes from the node that makes them to their last reader.
 * @param graph  of lowerGraph or lowerLoop
 * @param perStep  inputs of a Loop that differ from step to step, whose sizes the graph leaves open
 */
export function graphMemory(graph: OnnxGraph, perStep: readonly Value[]): GraphMemory {
  const { loop, inputs, nodes: all, outputs } = bodyOf(graph);
  const fed = [...inputs.flatMap(fedType), ...graph.inputs.flatMap(fedType), ...perStep.map(stackedType)];
  const types = inferTypes(all, new Map(fed), graph.initializers);
  const folded = foldedValues(all, graph.initializers);
  const nodes = executionOrder(all).filter((node) => !folded.has(node.outputs[0]!));
  const kept = new Set(outputs.map(({ name }) => name));
  const read = new Set(nodes.flatMap(namesRead));
  const bytesOf = (names: Iterable<string>) => sum([...names].map((name) => sizeBytes(types.get(name)!)));
  const isRead = (name: string) => read.has(name);
  return {
    liveBytes: peakOf(nodes, planBuffers(nodes, { types, kept, isKeptOutside: loop === undefined }), types),
    foldedBytes: bytesOf([...new Set(folded.values())].filter(isRead)),
    foldingBytes: bytesOf(new Set(folded.values())),
    storedBytes: bytesOf(graph.initializers.map(({ name }) => name).filter(isRead)),
    nodeCount: all.length,
  };
}

function bodyOf(graph: OnnxGraph): OnnxGraph & { loop: OnnxNode | undefined } {
  const loop = graph.nodes.find(({ opType }) => opType === 'Loop');
  const body = loop?.attributes['body'];
  return { ...(body?.type === 'graph' ? body.value : graph), loop };
}

/** Nothing for an input of a Loop that perStep must tell; of what is stacked there is one step. */
function fedType({ name, dtype, dims = [] }: OnnxGraph['inputs'][number]): [string, OnnxType][] {
  if (dims.includes('')) return [];
  return [[name, { dtype, dims: dims.map((dim) => (typeof dim === 'number' ? dim : 1)) }]];
}

function stackedType(value: Value): [string, OnnxType] {
  const { name, shape, dtype } = (value as ValueOf<'Input'>).attributes;
  return [loopNames.stacked(name), { dtype, dims: [1, ...shape.map(Number)] }];
}

/**
 * Results that ONNX Runtime computes when a session is created, with the name of the first that is computed alike: it keeps
 * one of them. It leaves contrib operators alone.
 */
function foldedValues(nodes: readonly OnnxNode[], initializers: readonly OnnxInitializer[]): Map<string, string> {
  const constants = new Map(initializers.map(({ name }) => [name, name]));
  const alike = new Map<string, string>();
  const folded = new Map<string, string>();
  for (const { domain, opType, inputs, outputs, attributes } of nodes) {
    const isConstant = domain === '' && inputs.length > 0 && inputs.every((name) => name === '' || constants.has(name));
    if (!isConstant) continue;
    const key = JSON.stringify([opType, inputs.map((name) => constants.get(name)), attributes]);
    outputs.forEach((name, i) => {
      const first = alike.get(`${key}:${i}`) ?? name;
      alike.set(`${key}:${i}`, first);
      constants.set(name, first);
      folded.set(name, first);
    });
  }
  return folded;
}

/** A piece of memory, there from the step of the node that makes it to the end of the step of its last reader. */
interface Buffer {
  readonly bytes: number;
  readonly from: number;
  /** Infinity for what outlives the run. */
  to: number;
  readers: number;
}

interface BufferOptions {
  readonly types: ReadonlyMap<string, OnnxType>;
  /** Results that outlive the run. */
  readonly kept: ReadonlySet<string>;
  /** Whether those lie in memory of whoever runs the graph. */
  readonly isKeptOutside: boolean;
}

/** Operators that give their input's memory another shape; what is fed or stored is not the run's own. */
const ALIASES: readonly string[] = ['Reshape', 'Identity'];

/**
 * Plans buffers as ONNX Runtime does for its sequential executor where it does not know shapes: every result has a buffer of
 * its own, freed after its last reader, unless it is an input with another shape.
 * @param nodes  in the order that they run
 * @see ONNX Runtime, PlannerImpl in core/framework/allocation_planner.cc
 */
function planBuffers(nodes: readonly OnnxNode[], { types, kept, isKeptOutside }: BufferOptions): Buffer[] {
  const readers = new Map([...kept].map((name) => [name, 1]));
  for (const name of nodes.flatMap(namesRead)) readers.set(name, (readers.get(name) ?? 0) + 1);
  const owners = new Map<string, Buffer>();
  nodes.forEach((node, step) => {
    const outputs = node.outputs.filter((name) => name !== '');
    for (const name of outputs) {
      const isAlias = ALIASES.includes(node.opType) && !kept.has(name);
      const known = isAlias ? owners.get(node.inputs[0]!) : undefined;
      const isOwn = !isAlias && !(isKeptOutside && kept.has(name));
      const bytes = isOwn ? sizeBytes(types.get(name)!) : 0;
      const buffer = known ?? { bytes, from: step, to: Number.POSITIVE_INFINITY, readers: 0 };
      buffer.readers += readers.get(name) ?? 0;
      owners.set(name, buffer);
    }
    const read = namesRead(node).flatMap((name) => owners.get(name) ?? []);
    for (const buffer of read) buffer.readers -= 1;
    for (const buffer of [...read, ...outputs.map((name) => owners.get(name)!)]) {
      if (buffer.readers === 0) buffer.to = Math.min(buffer.to, step);
    }
  });
  return [...new Set(owners.values())];
}

function peakOf(nodes: readonly OnnxNode[], buffers: readonly Buffer[], types: ReadonlyMap<string, OnnxType>): number {
  const changes = new Float64Array(nodes.length + 1);
  for (const { bytes, from, to } of buffers) {
    changes[from]! += bytes;
    if (to < nodes.length) changes[to + 1]! -= bytes;
  }
  let live = 0;
  const inUse = nodes.map((node, step) => {
    live += changes[step]!;
    return live + workspaceBytes(node, types);
  });
  return inUse.reduce((most, bytes) => Math.max(most, bytes), 0);
}

/** What a kernel takes for itself while it runs. */
function workspaceBytes({ opType, inputs, outputs }: OnnxNode, types: ReadonlyMap<string, OnnxType>): number {
  if (opType === 'Gelu') return sizeBytes(types.get(outputs[0]!)!);
  if (opType !== 'ConvTranspose') return 0;
  // The products of every position with every tap, before they are summed.
  const [x, weight] = inputs.map((name) => types.get(name)!) as [OnnxType, OnnxType];
  const [, channels, height, width] = weight.dims as [number, number, number, number];
  return channels * height * width * x.dims[2]! * x.dims[3]! * 4;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
