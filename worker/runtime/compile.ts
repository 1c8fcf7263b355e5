import { cudaRules } from '../graph/cuda-rules.ts';
import type { SymbolValues } from '../graph/dim.ts';
import { lowerGraph, type StoredParameter } from '../graph/lowering.ts';
import { encodeOnnxModel } from '../graph/onnx-model.ts';
import { portableRules } from '../graph/portable-rules.ts';
import type { Value } from '../graph/value.ts';
import type { Checkpoint } from './checkpoint.ts';
import { createSession, type Session, type SessionOptions } from './session.ts';

export interface CompileOptions extends SessionOptions {
  /** By the name of the component in the graph. */
  readonly checkpoints: Readonly<Record<string, Checkpoint>>;
  /** Dimensions to fix: a session for one size only, without shape arithmetic. */
  readonly symbols?: SymbolValues;
}

/** Makes a session that computes named outputs of a description with the weights where they lie on disk. */
export async function compile(outputs: Readonly<Record<string, Value>>, options: CompileOptions): Promise<Session> {
  const { checkpoints, symbols = {}, ...sessionOptions } = options;
  const findParameter = (component: string, name: string): StoredParameter => {
    const parameter = checkpoints[component]?.parameters.get(name);
    if (!parameter) throw new Error(`Cannot compile the graph: no checkpoint of ${component} holds ${name}`);
    return parameter;
  };
  const rules = options.device === 'cuda' ? cudaRules : portableRules;
  const graph = lowerGraph(outputs, rules, { symbols, findParameter });
  return createSession(encodeOnnxModel(graph), sessionOptions);
}
