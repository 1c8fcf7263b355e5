import { cast, input } from '../graph/operators.ts';
import type { Dtype, Value } from '../graph/value.ts';
import type { ParameterGroup, Trainable } from './adamw.ts';

/**
 * Tensors that learn, by name; asked for twice, a name gives the same value. They are float32 whatever dtype the networks
 * compute in: half precision would lose what a small step changes.
 */
export function learnNamed(dtype: Dtype = 'float32') {
  const trainables: Trainable[] = [];
  const known = new Map<string, Value>();
  const learn = (name: string, shape: readonly number[], group?: ParameterGroup): Value => {
    const seen = known.get(name);
    if (seen) return seen;
    const value = input(name, { shape, dtype: 'float32' });
    trainables.push({ name, shape, value, group });
    const computed = cast(value, dtype);
    known.set(name, computed);
    return computed;
  };
  return { trainables, learn };
}

/** Every tensor that a scope asks for learns, under its own name. */
export function learnEverything(dtype: Dtype = 'float32') {
  const { trainables, learn } = learnNamed(dtype);
  return { trainables, substitute: (name: string, shape: readonly number[]) => learn(name, shape) };
}
