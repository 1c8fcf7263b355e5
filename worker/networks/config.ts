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
  const problems = parsed.error.issues.map(({ path, message }) => {
    const value = path.reduce<unknown>(
      (inner, key) => (inner as Record<PropertyKey, unknown> | undefined)?.[key],
      present,
    );
    return `${path.join('.')}: ${message}, got ${shown(value)}`;
  });
  throw new UserError(`Cannot read ${where}: ${problems.join('; ')}`);
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

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
