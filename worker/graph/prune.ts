import { namesRead, type OnnxGraph, type OnnxNode } from './onnx-graph.ts';

/**
 * Drops nodes, further outputs of nodes and initializers that no output needs: rules that merge operators leave the
 * merged ones unused.
 */
export function prune(graph: OnnxGraph): OnnxGraph {
  const needed = new Set(graph.outputs.map((output) => output.name));
  const kept: OnnxNode[] = [];
  for (const node of [...graph.nodes].reverse()) {
    if (!node.outputs.some((output) => needed.has(output))) continue;
    const outputs = node.outputs.map((output) => (needed.has(output) ? output : ''));
    kept.push({ ...node, outputs: outputs.slice(0, 1 + outputs.findLastIndex((output) => output !== '')) });
    for (const name of namesRead(node)) needed.add(name);
  }
  return { ...graph, nodes: kept.reverse(), initializers: graph.initializers.filter(({ name }) => needed.has(name)) };
}
