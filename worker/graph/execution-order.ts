import { namesRead, type OnnxNode } from './onnx-graph.ts';

/**
 * Orders nodes as ONNX Runtime runs them: depth first, backwards from the nodes whose results no node reads, the last of
 * them first; of a node's inputs the one whose node stands last in the graph comes first.
 * @see ONNX Runtime, Graph::ReverseDFSFrom in core/graph/graph.cc and GraphViewer in core/graph/graph_viewer.cc
 */
export function executionOrder(nodes: readonly OnnxNode[]): OnnxNode[] {
  const makers = new Map(nodes.flatMap(({ outputs }, index) => outputs.map((name) => [name, index] as const)));
  const inputs = nodes.map((node) =>
    [...new Set(namesRead(node).flatMap((name) => makers.get(name) ?? []))].sort(ascending),
  );
  const read = new Set(inputs.flat());
  const stack = [...nodes.keys()].filter((index) => !read.has(index)).map((index) => ({ index, isLeft: false }));
  const seen = new Set<number>();
  const order: OnnxNode[] = [];
  for (let entry = stack.pop(); entry; entry = stack.pop()) {
    const { index, isLeft } = entry;
    if (isLeft) order.push(nodes[index]!);
    else if (!seen.has(index)) {
      seen.add(index);
      stack.push({ index, isLeft: true });
      for (const input of inputs[index]!) if (!seen.has(input)) stack.push({ index: input, isLeft: false });
    }
  }
  return order;
}

function ascending(a: number, b: number): number {
  return a - b;
}
