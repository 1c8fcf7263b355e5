import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Config, loadConfig } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';
import { addRepository } from '../models/add-repository.ts';
import { type ComponentReport, checkModel, checkStructure } from '../models/check.ts';
import { downloadProgress } from '../models/download-progress.ts';
import { formatBytes } from '../models/format-bytes.ts';
import { describeFamily, readFamily } from '../models/read-model.ts';
import { isFolder, listModels, registerFolder, resolveModel } from '../models/registry.ts';
import { expectedTensors, pictureMemoryBytes } from '../pipelines/model-tensors.ts';
import { runCommand } from './run-command.ts';

const USAGE = `Usage:
  npm run models -- add ORGANISATION/NAME[@REVISION] [--variant fp16] [--name NAME]
  npm run models -- add FOLDER [--name NAME]
  npm run models -- list
  npm run models -- check NAME`;

const NAMES_SHOWN = 10;

interface AddFlags {
  variant?: string | undefined;
  name?: string | undefined;
}

async function add(reference: string, config: Config, flags: AddFlags): Promise<void> {
  const folder = isFolder(reference)
    ? await addFolder(reference, config, flags)
    : await addFromHub(reference, config, flags);
  console.log(`${describeFamily(await readFamily(folder))} in ${folder}`);
}

async function addFolder(folder: string, config: Config, { name, variant }: AddFlags): Promise<string> {
  if (variant !== undefined) throw new UserError('Cannot add a folder: --variant is for downloads, got both');
  await checkStructure(folder);
  return resolveModel(await registerFolder(folder, config, name), config);
}

async function addFromHub(reference: string, config: Config, flags: AddFlags): Promise<string> {
  const interruption = new AbortController();
  const interrupt = () => interruption.abort(new UserError('Stopped; the same command goes on from here'));
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const progress = downloadProgress(process.stderr);
  try {
    return await addRepository(reference, config, { ...flags, listener: progress, signal: interruption.signal });
  } finally {
    progress.stop();
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

async function list(config: Config): Promise<void> {
  const rows: string[][] = [];
  for (const { name, folder } of await listModels(config)) {
    rows.push([name, ...(isFolder(folder) ? await describeFolder(folder) : ['folder is gone', '']), folder]);
  }
  console.log(rows.length === 0 ? `No models yet in ${config.modelsDir}` : alignColumns(rows));
}

/** A folder that is damaged is listed with what is wrong, beside those that are not. */
async function describeFolder(folder: string): Promise<[family: string, size: string]> {
  const family = await readFamily(folder).then(describeFamily, (error: unknown) => {
    if (error instanceof UserError) return error.message;
    throw error;
  });
  return [family, formatBytes(await folderBytes(folder))];
}

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory());
  const sizes = await Promise.all(files.map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function alignColumns(rows: string[][]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

async function check(name: string, config: Config): Promise<void> {
  const report = await checkModel(await resolveModel(name, config), expectedTensors);
  console.log(`${describeFamily(report.family)} in ${report.folder}`);
  for (const component of report.components) console.log(describeComponent(component).join('\n'));
  for (const { device, computeDtype, bytes } of await pictureMemoryBytes(report.folder)) {
    console.log(`A picture on ${device} in ${computeDtype} needs about ${formatBytes(bytes)} of memory`);
  }
  console.log(report.isWhole ? 'Every tensor is there' : 'The model is not whole');
  if (!report.isWhole) process.exitCode = 1;
}

function describeComponent(component: ComponentReport): string[] {
  const { parameterCount, storedDtypes, sizeBytes } = component;
  const count = `${parameterCount.toLocaleString('en-US')} parameters`;
  return [
    `${component.component} (${component.className}): ${count}, ${storedDtypes.join(' and ')}, ${formatBytes(sizeBytes)}`,
    ...describeNames('missing', component.missing),
    ...describeNames('wrong shape', component.wrongShape),
    ...describeNames('not used', component.unused),
  ];
}

function describeNames(what: string, names: string[]): string[] {
  if (names.length === 0) return [];
  const rest = names.length > NAMES_SHOWN ? `, and ${names.length - NAMES_SHOWN} more` : '';
  return [`  ${what} (${names.length}): ${names.slice(0, NAMES_SHOWN).join(', ')}${rest}`];
}

function parseFlags(args: string[]): { values: AddFlags; positionals: string[] } {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: { variant: { type: 'string' }, name: { type: 'string' } },
    });
  } catch (error) {
    throw new UserError(`${error instanceof Error ? error.message : error}\n${USAGE}`, { cause: error });
  }
}

async function main(args: string[]): Promise<void> {
  const { values, positionals } = parseFlags(args);
  const [command, subject, ...rest] = positionals;
  if (rest.length > 0) throw new UserError(USAGE);
  const config = loadConfig();
  if (command === 'add' && subject !== undefined) return add(subject, config, values);
  if (command === 'list' && subject === undefined) return list(config);
  if (command === 'check' && subject !== undefined) return check(subject, config);
  throw new UserError(USAGE);
}

await runCommand(main);
