import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';

/** Values that a configuration may only have or leave out; null counts as left out. */
export type FixedValues = Readonly<Record<string, string | number | boolean | null>>;

/**
 * Parses a published configuration. Keys that are in neither list are ignored, as diffusers ignores them.
 * @param where names the file in errors, e.g. `unet/config.json`
 * @throws UserError that names the field, the rule and the value, also for a known field whose value would change
 *   the computation in a way that is not implemented
 */
export function parseConfig<T>(
  json: unknown,
  { schema, fixed, where }: { schema: z.ZodType<T>; fixed: FixedValues; where: string },
): T {
  const record = z.record(z.string(), z.unknown()).safeParse(json);
  if (!record.success) throw new UserError(`Cannot read ${where}: it must be a JSON object, got ${shown(json)}`);
  for (const [key, only] of Object.entries(fixed)) {
    const value = record.data[key];
    if (value === undefined || value === null || value === only) continue;
    throw new UserError(`Cannot read ${where}: ${key} must be ${shown(only)}, got ${shown(value)}`);
  }
  const present = Object.fromEntries(Object.entries(record.data).filter(([, value]) => value !== null));
  const parsed = schema.safeParse(present);
  if (parsed.success) return parsed.data;
  throw new UserError(`Cannot read ${where}: ${describeIssues(parsed.error, present)}`);
}

const MOST_ISSUES = 10;

/** Names the fields that a schema refuses, each with the rule and the value received. */
export function describeIssues({ issues }: z.ZodError, json: unknown): string {
  const described = issues.slice(0, MOST_ISSUES).map(({ path, message }) => {
    const value = path.reduce<unknown>((parent, key) => Reflect.get(Object(parent), key), json);
    return `${path.join('.') || 'the file'}: ${message}, got ${shown(value)}`;
  });
  const more = issues.length - described.length;
  return described.join('; ') + (more > 0 ? `; and ${more} more` : '');
}

/** A count that keeps the graph of a hostile configuration small enough to describe. */
export function countUpTo(limit: number) {
  return z.int().min(1).max(limit);
}

/** A field that holds one value for all levels, or one value per level. */
export function perLevel(item: z.ZodType<number>) {
  return z.union([item, z.array(item).min(1)]);
}

/** @throws UserError if a list is not as long as there are levels */
export function spreadOverLevels(value: number | number[], levels: number, field: string): number[] {
  if (typeof value === 'number') return Array<number>(levels).fill(value);
  if (value.length === levels) return value;
  throw new UserError(
    `Cannot read the configuration: ${field} must have one entry per level, got ${value.length} for ${levels} levels`,
  );
}

const SHOWN_LENGTH = 80;
const SHOWN_DEPTH = 4;

function shown(value: unknown): string {
  const text = JSON.stringify(outline(value, SHOWN_DEPTH)) ?? 'nothing';
  return text.length > SHOWN_LENGTH ? `${text.slice(0, SHOWN_LENGTH)}...` : text;
}

/** The beginning of a value: JSON.stringify overflows the stack on a file that nests thousands of lists. */
function outline(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (depth === 0) return '...';
  if (Array.isArray(value)) return value.slice(0, SHOWN_LENGTH).map((item) => outline(item, depth - 1));
  const entries = Object.entries(value).slice(0, SHOWN_LENGTH);
  return Object.fromEntries(entries.map(([key, item]) => [key, outline(item, depth - 1)]));
}
