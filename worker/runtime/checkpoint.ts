import { UserError } from '../../shared/errors.ts';
import type { StoredParameter } from '../graph/lowering.ts';
import type { StoredTensor } from './safetensors.ts';
import type { ComponentWeights } from './weight-files.ts';

/** The weights of one component, checked: every tensor that its network reads is there with the right shape. */
export interface Checkpoint {
  readonly folder: string;
  /** By the name that the network uses. */
  readonly parameters: ReadonlyMap<string, StoredParameter>;
}

export interface CheckpointRules {
  /** Name and shape of every tensor that the network reads. */
  readonly expected: ReadonlyMap<string, readonly number[]>;
  /** Today's spelling of a stored name; undefined for a tensor that nobody reads. */
  readonly currentName?: (storedName: string) => string | undefined;
}

/** How the stored tensors differ from the expected ones; three empty lists if they do not. */
export interface CheckpointDifferences {
  readonly missing: readonly string[];
  readonly unused: readonly string[];
  readonly wrongShape: readonly string[];
}

/**
 * Matches stored tensors with the ones that a network expects.
 * @throws UserError that lists missing and unused tensors and wrong shapes, or names a dtype that cannot be weights
 */
export function openCheckpoint({ folder, tensors }: ComponentWeights, rules: CheckpointRules): Checkpoint {
  const { missing, unused, wrongShape } = compareCheckpoint(tensors, rules);
  const problems = [
    ...listed('missing tensors', missing),
    ...listed('unused tensors', unused),
    ...listed('wrong shapes', wrongShape),
  ];
  if (problems.length > 0) throw new UserError(`Cannot use the weights in ${folder}: ${problems.join('; ')}`);
  const parameters = new Map<string, StoredParameter>();
  for (const [name, tensor] of currentTensors(tensors, rules)) {
    if (rules.expected.has(name)) parameters.set(name, storedParameter(name, tensor));
  }
  return { folder, parameters };
}

export function compareCheckpoint(
  tensors: ReadonlyMap<string, StoredTensor>,
  rules: CheckpointRules,
): CheckpointDifferences {
  const stored = currentTensors(tensors, rules);
  const found = [...rules.expected].flatMap(([name, shape]) => {
    const tensor = stored.get(name);
    return tensor ? [{ name, shape, tensor }] : [];
  });
  return {
    missing: [...rules.expected.keys()].filter((name) => !stored.has(name)),
    unused: [...stored.keys()].filter((name) => !rules.expected.has(name)),
    wrongShape: found
      .filter(({ shape, tensor }) => !sameButForTrailingOnes(shape, tensor.shape))
      .map(({ name, shape, tensor }) => `${name} must be [${shape.join(', ')}], got [${tensor.shape.join(', ')}]`),
  };
}

function currentTensors(
  tensors: ReadonlyMap<string, StoredTensor>,
  { currentName = (name) => name }: CheckpointRules,
): Map<string, StoredTensor> {
  const current = new Map<string, StoredTensor>();
  for (const [storedName, tensor] of tensors) {
    const name = currentName(storedName);
    if (name === undefined) continue;
    const twin = current.get(name);
    if (twin)
      throw new UserError(`Cannot use the weights: ${name} is stored twice, got ${twin.name} and ${storedName}`);
    current.set(name, tensor);
  }
  return current;
}

/** Checkpoints of the original layout keep linear weights as 1 x 1 convolutions: [C, C, 1, 1] is read as [C, C]. */
function sameButForTrailingOnes(a: readonly number[], b: readonly number[]): boolean {
  const length = Math.max(a.length, b.length);
  return Array.from({ length }, (_, i) => (a[i] ?? 1) === (b[i] ?? 1)).every(Boolean);
}

function storedParameter(name: string, { dtype, file, offset, sizeBytes }: StoredTensor): StoredParameter {
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
    throw new UserError(`Cannot use the weights in ${file}: ${name} must be F32, F16 or BF16, got ${dtype}`);
  }
  return { dtype, file, offset, sizeBytes };
}

const SHOWN = 10;

function listed(title: string, names: readonly string[]): string[] {
  if (names.length === 0) return [];
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : '';
  return [`${names.length} ${title}: ${names.slice(0, SHOWN).join(', ')}${more}`];
}
