import { add, constant } from './operators.ts';
import { Recomputation } from './recompute.ts';
import { GraphError, type OpName, topologicalOrder, type Value } from './value.ts';
import type { DifferentiableOp, VjpRule } from './vjp-rule.ts';
import { vjpRules } from './vjp-rules.ts';

export interface GradientOptions {
  /** Whether activations are computed again from the ends of blocks instead of being kept: less memory, more time. */
  readonly isRecomputed?: boolean | undefined;
}

/**
 * Emits the gradients of a scalar with respect to some of the values that it is computed from, by reverse-mode
 * differentiation. Only what lies between them is differentiated: a frozen weight costs nothing.
 * @param loss one element, floating point
 * @returns one value per entry of `wrt`, of its shape
 * @throws GraphError if the loss does not depend on an entry, or an operator on the way cannot be differentiated
 */
export function gradients(loss: Value, wrt: readonly Value[], { isRecomputed = false }: GradientOptions = {}): Value[] {
  const recomputation = isRecomputed ? new Recomputation() : undefined;
  const order = topologicalOrder([loss]);
  const reached = reachedFrom(new Set(wrt), order);
  const cotangents = new Map<Value, Value>([[loss, constant([1], loss.shape.map(Number), loss.dtype)]]);
  for (const value of order.reverse()) {
    const ct = cotangents.get(value);
    if (!ct || !reached.has(value)) continue;
    const inputCotangents = vjp(ct, recomputation?.again(value, ct) ?? value);
    value.inputs.forEach((input, i) => {
      const make = inputCotangents[i];
      if (!make || !input || !reached.has(input)) return;
      const known = cotangents.get(input);
      cotangents.set(input, known ? add(known, make()) : make());
    });
  }
  return wrt.map((value) => {
    const gradient = cotangents.get(value);
    if (!gradient)
      throw new GraphError(`cannot differentiate: the loss must depend on every value asked for, got ${nameOf(value)}`);
    return gradient;
  });
}

/** The values that depend on one of `sources`, the sources included. */
function reachedFrom(sources: ReadonlySet<Value>, order: readonly Value[]): Set<Value> {
  const reached = new Set<Value>();
  for (const value of order) {
    if (sources.has(value) || value.inputs.some((input) => input && reached.has(input))) reached.add(value);
  }
  return reached;
}

function vjp(ct: Value, value: Value) {
  if (!isDifferentiable(value.op)) throw new GraphError(`cannot differentiate ${value.op}: it is a gradient itself`);
  // Each rule takes the values of its own operator; the table cannot be indexed by a union without this.
  const rule = vjpRules[value.op] as VjpRule<OpName>;
  return rule(ct, value as never);
}

function isDifferentiable(op: OpName): op is DifferentiableOp {
  return op in vjpRules;
}

function nameOf(value: Value): string {
  return value.op === 'Input' || value.op === 'Parameter' ? value.attributes.name : value.op;
}
