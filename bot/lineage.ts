/** What a result was made from, and what differs: a variant says of which picture, an edited one what was edited. */
import type { OptionValue } from '../commands/command.ts';
import { type AskedOptions, optionsOfJob } from '../commands/options-of-job.ts';
import type { Database } from '../shared/database.ts';
import { findJob, type JobRow } from './job-rows.ts';
import { shorten } from './wording.ts';

/** How far back it is told. */
const MAX_ANCESTORS = 5;
const MAX_SHOWN_VALUE = 40;

/** A line for each ancestor, the nearest first: "- made from `j1`: seed 7 → 9". */
export async function lineage(database: Database, row: JobRow): Promise<string[]> {
  const lines: string[] = [];
  let child = row;
  while (child.parent_job_id !== null && lines.length < MAX_ANCESTORS) {
    const parent = await findJob(database, child.parent_job_id);
    if (!parent) break;
    const changes = differences(optionsOfJob(parent.job), optionsOfJob(child.job));
    const what = changes.length > 0 ? changes.join(', ') : 'nothing changed';
    lines.push(`- ${lines.length === 0 ? 'made' : 'and that'} from \`${parent.id}\`: ${what}`);
    child = parent;
  }
  return lines;
}

/** Options that differ, in the words of the command: "strength 1 → 1.25", "another image". */
export function differences(before: AskedOptions, after: AskedOptions): string[] {
  const names = [...new Set([...Object.keys(before.options), ...Object.keys(after.options)])];
  const options = names.flatMap((name) => {
    const [old, fresh] = [before.options[name], after.options[name]];
    return old === fresh ? [] : [`${name} ${shown(old)} → ${shown(fresh)}`];
  });
  const imageNames = [...new Set([...Object.keys(before.images), ...Object.keys(after.images)])];
  const hashes = ({ images }: AskedOptions, name: string) => (images[name] ?? []).map(({ hash }) => hash).join();
  const images = imageNames.filter((name) => hashes(before, name) !== hashes(after, name));
  return [...options, ...images.map((name) => `another ${name}`)];
}

function shown(value: OptionValue | undefined): string {
  return value === undefined ? 'as usual' : shorten(String(value), MAX_SHOWN_VALUE);
}
