import { input } from '../graph/operators.ts';
import type { Value } from '../graph/value.ts';
import type { ParameterGroup, Trainable } from './adamw.ts';

/** Tensors that learn, by name; asked for twice, a name gives the same value. */
export function learnNamed() {
  const trainables: Trainable[] = [];
  const known = new Map<string, Value>();
  const learn = (name: string, shape: readonly number[], group?: ParameterGroup): Value => {
    const value = known.get(name) ?? input(name, { shape, dtype: 'float32' });
    if (!known.has(name)) trainables.push({ name, shape, value, group });
    known.set(name, value);
    return value;
  };
  return { trainables, learn };
}

/** Every tensor that a scope asks for learns, under the name `prefix` and its own. */
export function learnEverything(prefix = '') {
  const { trainables, learn } = learnNamed();
  return { trainables, substitute: (name: string, shape: readonly number[]) => learn(prefix + name, shape) };
}
