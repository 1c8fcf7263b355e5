import { cpuRules } from '../graph/cpu-rules.ts';
import { cudaRules } from '../graph/cuda-rules.ts';
import type { SymbolValues } from '../graph/dim.ts';
import { type LoopDescription, lowerLoop } from '../graph/loop.ts';
import { type LoweringOptions, type LowerRules, lowerGraph, type StoredParameter } from '../graph/lowering.ts';
import type { OnnxGraph } from '../graph/onnx-graph.ts';
import { encodeOnnxModel } from '../graph/onnx-model.ts';
import { portableRules } from '../graph/portable-rules.ts';
import type { Value } from '../graph/value.ts';
import type { Checkpoint } from './checkpoint.ts';
import { createSession, type Device, type Session, type SessionOptions } from './session.ts';

const loweringRules = { portable: portableRules, cpu: cpuRules, cuda: cudaRules } satisfies Record<string, LowerRules>;

/** Which rules turn the description into ONNX operators; the portable ones run on every device. */
export type LoweringName = keyof typeof loweringRules;

const deviceLowerings: { readonly [D in Device]: LoweringName } = { cpu: 'cpu', webgpu: 'portable', cuda: 'cuda' };

export interface CompileOptions extends SessionOptions {
  /** By the name of the component in the graph. */
  readonly checkpoints: Readonly<Record<string, Checkpoint>>;
  /** Dimensions to fix: a session for one size only, without shape arithmetic. */
  readonly symbols?: SymbolValues;
  /** What the dimensions that are not fixed will mostly be: the session is fastest there. */
  readonly typicalSymbols?: SymbolValues;
  /** The fastest one for the device by default. */
  readonly lowering?: LoweringName;
}

/** Lowers a step that is run several times for a device: see lowerLoop for inputs and outputs. */
export function lowerLoopFor(description: LoopDescription, options: CompileOptions): OnnxGraph {
  const { rules, lowering } = splitOptions(options);
  return lowerLoop(description, rules, lowering);
}

/** Lowers named outputs of a description for a device. */
export function lowerFor(outputs: Readonly<Record<string, Value>>, options: CompileOptions): OnnxGraph {
  const { rules, lowering } = splitOptions(options);
  return lowerGraph(outputs, rules, lowering);
}

/** Makes a session that computes named outputs of a description with the weights where they lie on disk. */
export async function compile(outputs: Readonly<Record<string, Value>>, options: CompileOptions): Promise<Session> {
  return openSession(lowerFor(outputs, options), options);
}

/** Makes a session that runs a lowered graph. */
export async function openSession(graph: OnnxGraph, options: CompileOptions): Promise<Session> {
  return createSession(encodeOnnxModel(graph), splitOptions(options).session);
}

function splitOptions(options: CompileOptions): {
  rules: LowerRules;
  lowering: LoweringOptions;
  session: SessionOptions;
} {
  const {
    checkpoints,
    symbols = {},
    typicalSymbols = {},
    lowering = deviceLowerings[options.device],
    ...session
  } = options;
  const findParameter = (component: string, name: string): StoredParameter => {
    const parameter = checkpoints[component]?.parameters.get(name);
    if (!parameter) throw new Error(`Cannot compile the graph: no checkpoint of ${component} holds ${name}`);
    return parameter;
  };
  return { rules: loweringRules[lowering], lowering: { symbols, typicalSymbols, findParameter }, session };
}
