/** An ONNX graph as plain data: what a lowering emits and the encoder writes. */

export type OnnxDtype = 'float32' | 'float16' | 'bfloat16' | 'int64' | 'bool';

export type OnnxAttribute =
  | { readonly type: 'int'; readonly value: number }
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'ints'; readonly value: readonly number[] }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'graph'; readonly value: OnnxGraph };

export interface OnnxNode {
  readonly opType: string;
  /** '' is ONNX's own operator set. */
  readonly domain: '' | 'com.microsoft';
  readonly name: string;
  /** '' leaves an optional input out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

/** A tensor that stays where it lies: a byte range of a file. */
export interface ExternalTensor {
  /** Absolute path. */
  readonly file: string;
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface OnnxInitializer {
  readonly name: string;
  readonly dtype: OnnxDtype;
  readonly dims: readonly number[];
  /** Little-endian bytes, or where they lie. */
  readonly data: Uint8Array<ArrayBuffer> | ExternalTensor;
}

/** A dimension that is not the same as any other as far as ONNX Runtime can know. */
export const OPEN_DIM = '';

export interface OnnxValueInfo {
  readonly name: string;
  readonly dtype: OnnxDtype;
  /** A string names a dimension that is known only at run time, OPEN_DIM one without a name; undefined leaves the shape open. */
  readonly dims: readonly (number | string)[] | undefined;
}

export interface OnnxGraph {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxInitializer[];
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
}

export const int = (value: number): OnnxAttribute => ({ type: 'int', value });
export const float = (value: number): OnnxAttribute => ({ type: 'float', value });
export const ints = (...value: readonly number[]): OnnxAttribute => ({ type: 'ints', value });
export const string = (value: string): OnnxAttribute => ({ type: 'string', value });

/** Lists the nodes of a graph and of all graphs inside its nodes. */
export function allNodes(graph: OnnxGraph): OnnxNode[] {
  return graph.nodes.flatMap((node) => [
    node,
    ...Object.values(node.attributes).flatMap((attribute) =>
      attribute.type === 'graph' ? allNodes(attribute.value) : [],
    ),
  ]);
}

/** Names that a node reads, also inside its branches. */
export function namesRead({ inputs, attributes }: OnnxNode): string[] {
  const inner = Object.values(attributes).flatMap((attribute) =>
    attribute.type === 'graph' ? attribute.value.nodes.flatMap(namesRead) : [],
  );
  return [...inputs, ...inner];
}
