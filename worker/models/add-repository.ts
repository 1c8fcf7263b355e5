import { mkdir, readdir, rename, rm, rmdir, statfs } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import type { Config } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';
import { bytesOnDisk, downloadFile } from './download-file.ts';
import { withLock } from './folder-lock.ts';
import { formatBytes } from './format-bytes.ts';
import { type HubFile, type HubRepository, listRepository, readHubJson } from './hub.ts';
import { DEFAULT_HUB_LIMITS, type Hub, type HubLimits } from './hub-request.ts';
import { parseModelName, refuseKnownName } from './registry.ts';
import { selectFiles } from './select-files.ts';

/** Hears how a download goes. */
export interface DownloadListener {
  onStart(files: readonly HubFile[]): void;
  /** `receivedBytes` are there, verified or not; the number falls when a file has to start again. */
  onBytes(file: HubFile, receivedBytes: number): void;
  onWhole(file: HubFile): void;
  onRetry(what: string, reason: string): void;
}

export interface AddRepositoryOptions {
  listener: DownloadListener;
  signal: AbortSignal;
  /** Last part of the repository's id by default. */
  name?: string | undefined;
  /** Such as "fp16"; plain files by default. */
  variant?: string | undefined;
  limits?: HubLimits;
}

const PARALLEL_DOWNLOADS = 4;
// Left over for whoever else writes to the disk meanwhile.
const SPARE_BYTES = 100e6;

/**
 * Downloads what the engine reads of a published repository into `<modelsDir>/<name>`.
 * That folder appears by one rename, when every file is verified; until then all lies in `<name>.partial`.
 * @param reference   "organisation/name", perhaps with "@revision"
 * @returns the folder
 * @throws UserError when the repository cannot be used or reached, the disk is too small, or the name is taken
 */
export async function addRepository(
  reference: string,
  config: Config,
  { listener, signal, name, variant, limits = DEFAULT_HUB_LIMITS }: AddRepositoryOptions,
): Promise<string> {
  const { id, revision } = parseReference(reference);
  const modelName = parseModelName(name ?? id.slice(id.lastIndexOf('/') + 1));
  const folder = join(config.modelsDir, modelName);
  const hub: Hub = { endpoint: config.hubEndpoint, token: config.hubToken, limits, signal, onRetry: listener.onRetry };
  return withLock(`${folder}.lock`, `add ${modelName}`, async () => {
    await refuseKnownName(modelName, config);
    const repository = await listRepository(hub, id, revision);
    const files = await filesToDownload(hub, repository, variant);
    await downloadFolder(hub, repository, { files, partial: `${folder}.partial`, listener });
    await rename(`${folder}.partial`, folder);
    return folder;
  });
}

function parseReference(reference: string): { id: string; revision: string } {
  const match = /^([\w.-]+(?:\/[\w.-]+)?)(?:@([\w./-]+))?$/.exec(reference);
  if (match?.[1] === undefined || /(^|\/)\.{1,2}(\/|$)/.test(match[1])) {
    throw new UserError(`Cannot add ${reference}: it must be an existing folder or organisation/name[@revision]`);
  }
  return { id: match[1], revision: match[2] ?? 'main' };
}

/** Largest first, so that the longest download does not begin last. */
async function filesToDownload(hub: Hub, repository: HubRepository, variant: string | undefined): Promise<HubFile[]> {
  const view = {
    id: repository.id,
    paths: new Set(repository.files.map(({ path }) => path)),
    readJson: (path: string) => readHubJson(hub, repository, path),
  };
  const selected = new Set(await selectFiles(view, variant));
  return repository.files.filter(({ path }) => selected.has(path)).sort((a, b) => b.sizeBytes - a.sizeBytes);
}

interface FolderDownload {
  files: readonly HubFile[];
  partial: string;
  listener: DownloadListener;
}

async function downloadFolder(hub: Hub, repository: HubRepository, download: FolderDownload): Promise<void> {
  const { files, partial, listener } = download;
  await mkdir(partial, { recursive: true });
  const paths = files.map(({ path }) => path);
  await removeStrangers(partial, new Set(paths.flatMap((path) => [path, `${path}.part`, `${path}.part.etag`])));
  await refuseFullDisk(repository.id, download);
  listener.onStart(files);
  await inParallel(hub, files, async (file, fileHub) => {
    const onBytes = (receivedBytes: number) => listener.onBytes(file, receivedBytes);
    await downloadFile(fileHub, repository, file, { target: join(partial, file.path), onBytes });
    listener.onWhole(file);
  });
  // A process that was killed when a file was whole may have left the notes of its download.
  await removeStrangers(partial, new Set(paths));
}

/** An interrupted download of another revision or variant leaves files that must not get into this model. */
async function removeStrangers(partial: string, ours: ReadonlySet<string>): Promise<void> {
  const entries = await readdir(partial, { recursive: true, withFileTypes: true });
  for (const entry of entries.reverse()) {
    const path = join(entry.parentPath, entry.name);
    const isOurs = ours.has(relative(partial, path).split(sep).join('/'));
    if (entry.isDirectory() && !isOurs) {
      if ((await readdir(path)).length === 0) await rmdir(path);
    } else if (!entry.isFile() || !isOurs) await rm(path, { recursive: true });
  }
}

async function refuseFullDisk(id: string, { files, partial }: FolderDownload): Promise<void> {
  const missing = files.map(({ path, sizeBytes }) => Math.max(0, sizeBytes - bytesOnDisk(join(partial, path))));
  const neededBytes = missing.reduce((sum, bytes) => sum + bytes, 0);
  const { bavail, bsize } = await statfs(partial);
  if (neededBytes + SPARE_BYTES <= bavail * bsize) return;
  throw new UserError(
    `Cannot add ${id}: ${formatBytes(neededBytes)} are still to come and ${formatBytes(SPARE_BYTES)} must stay free, got ${formatBytes(bavail * bsize)} free in ${partial}`,
  );
}

/** The first failure stops the others; they are waited for, so that nothing writes after the lock is gone. */
async function inParallel(
  hub: Hub,
  files: readonly HubFile[],
  work: (file: HubFile, hub: Hub) => Promise<void>,
): Promise<void> {
  const failure = new AbortController();
  const fileHub = { ...hub, signal: AbortSignal.any([hub.signal, failure.signal]) };
  const queue = files.values();
  const workers = Array.from({ length: PARALLEL_DOWNLOADS }, async () => {
    for (const file of queue) {
      fileHub.signal.throwIfAborted();
      await work(file, fileHub).catch((error: unknown) => {
        failure.abort(error);
        throw error;
      });
    }
  });
  await Promise.allSettled(workers);
  fileHub.signal.throwIfAborted();
}
