/** A description run several times in one ONNX Loop: what it carries from step to step never leaves the device. */
import { type LoweringOptions, type LowerRules, lowerGraph } from './lowering.ts';
import { int, type OnnxGraph, type OnnxNode, type OnnxValueInfo, OPEN_DIM } from './onnx-graph.ts';
import { GraphError, type Value, type ValueOf } from './value.ts';

export interface LoopDescription {
  /** Inputs that hold the state before a step, with the value that each has after it; shape and dtype must agree. */
  readonly carried: readonly { readonly before: Value; readonly after: Value }[];
  /** Inputs that differ from step to step; they are fed stacked, with the step as first axis. */
  readonly perStep: readonly Value[];
  /** Inputs that are fed stacked as well, of which a step takes the entry at a carried count in place of its own number. */
  readonly perCount?: { readonly count: Value; readonly inputs: readonly Value[] } | undefined;
  /** Values that every step reports; they come out stacked. */
  readonly reported: Readonly<Record<string, Value>>;
}

/** Names of the inputs and outputs of a lowered loop. */
export const loopNames = {
  iterations: 'iterations',
  initial: (name: string) => `initial:${name}`,
  stacked: (name: string) => `stacked:${name}`,
  final: (name: string) => `final:${name}`,
  reported: (name: string) => `reported:${name}`,
} as const;

/**
 * Lowers a step into the body of a Loop. Inputs: iterations (int64 scalar), initial:NAME for what is carried and
 * stacked:NAME [iterations, ...] for what differs by step or count; outputs: final:NAME and reported:NAME [iterations, ...]. Weights belong
 * to the graph around the loop, so that no iteration copies them.
 * @throws GraphError if the step reads an input that is neither carried nor given per step or count
 */
export function lowerLoop(description: LoopDescription, rules: LowerRules, options: LoweringOptions): OnnxGraph {
  const { carried, perStep, perCount, reported } = description;
  const counted = (perCount?.inputs ?? []).map(inputName);
  const outputs = Object.fromEntries([
    ...carried.map(({ before, after }) => [`after:${inputName(before)}`, after]),
    ...Object.entries(reported).map(([name, value]) => [`report:${name}`, value]),
  ]);
  const step = lowerGraph(outputs, rules, { ...options, openInputs: [...perStep.map(inputName), ...counted] });
  const read = new Map(step.inputs.map((info) => [info.name, info]));
  const carriedNames = carried.map(({ before }) => inputName(before));
  const stackedNames = [...perStep.map(inputName), ...counted].filter((name) => read.has(name));
  const unknown = [...read.keys()].filter((name) => !carriedNames.includes(name) && !stackedNames.includes(name));
  if (unknown.length > 0)
    throw new GraphError(`cannot loop: every input must be carried or given per step, got ${unknown}`);
  const carriedInfos = carried.map(({ before }) => valueInfo(before));
  const body: OnnxGraph = {
    name: 'step',
    nodes: [
      identity('condition', 'continued'),
      ...stackedNames.map((name) =>
        pick(name, perCount && counted.includes(name) ? inputName(perCount.count) : 'step'),
      ),
      ...step.nodes,
    ],
    initializers: [],
    inputs: [
      { name: 'step', dtype: 'int64', dims: [] },
      { name: 'condition', dtype: 'bool', dims: [] },
      ...carriedInfos,
    ],
    outputs: [{ name: 'continued', dtype: 'bool', dims: [] }, ...step.outputs],
  };
  const loop: OnnxNode = {
    opType: 'Loop',
    domain: '',
    name: 'steps',
    inputs: [loopNames.iterations, '', ...carriedNames.map(loopNames.initial)],
    outputs: [...carriedNames.map(loopNames.final), ...Object.keys(reported).map(loopNames.reported)],
    attributes: { body: { type: 'graph', value: body } },
  };
  const steps = 'steps';
  return {
    name: 'main',
    nodes: [loop],
    initializers: step.initializers,
    inputs: [
      { name: loopNames.iterations, dtype: 'int64', dims: [] },
      ...carriedInfos.map((info) => ({ ...info, name: loopNames.initial(info.name) })),
      ...stackedNames.map((name) => openInfo(stackInfo(loopNames.stacked(name), read.get(name)!, steps))),
    ],
    outputs: [
      ...carriedInfos.map((info) => ({ ...info, name: loopNames.final(info.name) })),
      ...step.outputs.slice(carried.length).map((info, i) => {
        return stackInfo(loopNames.reported(Object.keys(reported)[i]!), info, steps);
      }),
    ],
  };
}

function inputName(value: Value): string {
  if (value.op !== 'Input') throw new GraphError(`cannot loop: what is fed must be an Input, got ${value.op}`);
  return value.attributes.name;
}

function valueInfo(value: Value): OnnxValueInfo {
  const { name, dtype, shape } = (value as ValueOf<'Input'>).attributes;
  return { name, dtype, dims: shape.map(Number) };
}

function stackInfo(name: string, { dtype, dims = [] }: OnnxValueInfo, steps: string): OnnxValueInfo {
  return { name, dtype, dims: [steps, ...dims] };
}

/** Leaves the first axis of every step open: see openInputs of LoweringOptions. */
function openInfo({ dims = [], ...info }: OnnxValueInfo): OnnxValueInfo {
  return { ...info, dims: dims.map((dim, axis) => (axis === 1 ? OPEN_DIM : dim)) };
}

function identity(from: string, to: string): OnnxNode {
  return { opType: 'Identity', domain: '', name: `copy:${to}`, inputs: [from], outputs: [to], attributes: {} };
}

/** Takes the entry at an index out of a stack. */
function pick(name: string, index: string): OnnxNode {
  const inputs = [loopNames.stacked(name), index];
  return { opType: 'Gather', domain: '', name: `pick:${name}`, inputs, outputs: [name], attributes: { axis: int(0) } };
}
