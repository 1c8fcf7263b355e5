import { apply } from './operators.ts';
import { topologicalOrder, type Value } from './value.ts';

/**
 * Rebuilds values with some of the values that they are computed from replaced.
 * @throws GraphError if a replacement does not fit where its original stood
 */
export function rewrite(values: readonly Value[], replacements: ReadonlyMap<Value, Value>): Value[] {
  const rebuilt = new Map<Value, Value>(replacements);
  for (const value of topologicalOrder(values)) {
    if (rebuilt.has(value)) continue;
    const inputs = value.inputs.map((input) => input && rebuilt.get(input)!);
    const isSame = inputs.every((input, i) => input === value.inputs[i]);
    // The operator and its attributes stay; inputs are replaced by values of the same kind, one by one.
    rebuilt.set(value, isSame ? value : apply(value.op, inputs as never, value.attributes as never));
  }
  return values.map((value) => rebuilt.get(value)!);
}
