import { randomUUID } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import type { Config } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';
import { withLock } from './folder-lock.ts';
import { type NetworkKind, SHIPPED_MODEL, shippedFolder } from './shipped.ts';

export interface KnownModel {
  name: string;
  /** Absolute. */
  folder: string;
}

const NAME_RULE = 'a name has letters, digits, dots, dashes and underscores, and begins with a letter or digit';
const registrySchema = z.record(z.string(), z.string());

/**
 * Gives a folder that lies anywhere a name; nothing is copied.
 * @param folder   a model folder that has passed `readComponents`
 * @param name     the folder's own name by default
 * @returns the name
 * @throws UserError when the name is taken or cannot be one
 */
export async function registerFolder(folder: string, config: Config, name?: string | undefined): Promise<string> {
  const modelName = parseModelName(name ?? basename(resolve(folder)));
  await withLock(`${registryPath(config)}.lock`, `register ${modelName}`, async () => {
    await refuseKnownName(modelName, config);
    await writeRegistry(config, { ...(await readRegistry(config)), [modelName]: resolve(folder) });
  });
  return modelName;
}

/**
 * Lists the shipped, the downloaded and the registered models by name.
 * A registered folder is listed even when it has been moved away since.
 */
export async function listModels(config: Config): Promise<KnownModel[]> {
  const registered = Object.entries(await readRegistry(config)).map(([name, folder]) => ({ name, folder }));
  return [...listShipped(), ...(await listDownloaded(config)), ...registered].sort((a, b) =>
    a.name < b.name ? -1 : 1,
  );
}

/**
 * Finds the folder of a model.
 * @param nameOrFolder   a path that exists, else a name from `listModels`, or `pocket/sketch` and the like
 * @param kind   what the folder is to hold, where a shipped name has several
 * @returns an absolute path
 * @throws UserError that lists the names known
 */
export async function resolveModel(nameOrFolder: string, config: Config, kind: NetworkKind = 'model'): Promise<string> {
  if (isFolder(nameOrFolder)) return resolve(nameOrFolder);
  const shipped = shippedFolder(nameOrFolder, kind);
  if (shipped !== undefined) return shipped;
  const models = await listModels(config);
  const found = models.find(({ name }) => name === nameOrFolder);
  if (found === undefined) {
    const names = models.map(({ name }) => name).join(', ');
    throw new UserError(
      `Cannot find a model: it must be a folder or one of the names known (${names || 'none yet'}), got ${nameOrFolder}`,
    );
  }
  if (isFolder(found.folder)) return found.folder;
  throw new UserError(`Cannot find the model ${found.name}: its folder must exist, got ${found.folder}`);
}

/** Tells whether a path leads to a folder. */
export function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** @throws UserError unless the text can name a folder of models that is whole */
export function parseModelName(text: string): string {
  if (!/^[A-Za-z0-9][\w.-]*$/.test(text))
    throw new UserError(`Cannot name a model: ${NAME_RULE}, got ${JSON.stringify(text)}`);
  if (/\.(partial|lock|json)$/.test(text)) {
    throw new UserError(`Cannot name a model: the endings .partial, .lock and .json are taken, got ${text}`);
  }
  return text;
}

/** @throws UserError when a model of that name is there already */
export async function refuseKnownName(name: string, config: Config): Promise<void> {
  const folder = (await readRegistry(config))[name] ?? join(config.modelsDir, name);
  if ((await listModels(config)).some((model) => model.name === name) || existsSync(join(config.modelsDir, name))) {
    throw new UserError(
      `Cannot add ${name}: its name must be new, got one that belongs to ${folder}; choose another with --name`,
    );
  }
}

function listShipped(): KnownModel[] {
  const folder = shippedFolder(SHIPPED_MODEL);
  return folder === undefined ? [] : [{ name: SHIPPED_MODEL, folder }];
}

async function listDownloaded({ modelsDir }: Config): Promise<KnownModel[]> {
  if (!existsSync(modelsDir)) return [];
  const entries = await readdir(modelsDir, { withFileTypes: true });
  return entries
    .filter((entry) => !entry.name.endsWith('.partial') && isModelFolder(join(modelsDir, entry.name)))
    .map((entry) => ({ name: entry.name, folder: join(modelsDir, entry.name) }));
}

function isModelFolder(folder: string): boolean {
  return ['model_index.json', 'config.json'].some((name) => existsSync(join(folder, name)));
}

function registryPath({ modelsDir }: Config): string {
  return join(modelsDir, 'registry.json');
}

async function readRegistry(config: Config): Promise<Record<string, string>> {
  const path = registryPath(config);
  if (!existsSync(path)) return {};
  try {
    return registrySchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    throw new UserError(`Cannot read ${path}: it must be a JSON object of names and folders`, { cause: error });
  }
}

async function writeRegistry(config: Config, registry: Record<string, string>): Promise<void> {
  const path = registryPath(config);
  const temporary = `${path}.${randomUUID()}`;
  await mkdir(config.modelsDir, { recursive: true });
  await writeFile(temporary, `${JSON.stringify(registry, undefined, 2)}\n`);
  await rename(temporary, path);
}
