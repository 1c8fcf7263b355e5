import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import { type Hub, request, withRetries } from './hub-request.ts';

/** What the bytes of a file must hash to; `gitBlob` is git's sha1 over "blob <size>\0" and the bytes. */
export interface FileHash {
  algorithm: 'sha256' | 'gitBlob';
  hex: string;
}

export interface HubFile {
  /** Relative to the repository's root, with forward slashes; never leaves it. */
  path: string;
  sizeBytes: number;
  hash: FileHash;
}

/** One commit of a repository: a set of files that belong together. */
export interface HubRepository {
  id: string;
  commit: string;
  files: readonly HubFile[];
}

const MAX_JSON_BYTES = 64 * 2 ** 20;
const MAX_PAGES = 1000;

const revisionSchema = z.object({ sha: z.string().regex(/^[0-9a-f]{40}$/) });

const treeSchema = z.array(
  z.object({
    type: z.string(),
    path: z.string().min(1),
    size: z.int().nonnegative(),
    oid: z.string(),
    lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().nonnegative() }).optional(),
  }),
);

/**
 * Lists the files of the commit that a revision names now.
 * @param revision   branch, tag or commit
 * @throws UserError when the hub refuses, does not answer, or lists a path that would leave the folder
 */
export async function listRepository(hub: Hub, id: string, revision: string): Promise<HubRepository> {
  const api = `${hub.endpoint}/api/models/${encodePath(id)}`;
  const what = `list ${id}`;
  const { body } = await readJson(hub, what, `${api}/revision/${encodeURIComponent(revision)}`, revisionSchema);
  const files: HubFile[] = [];
  let query: string | undefined = '?recursive=true';
  for (let page = 0; query !== undefined; page++) {
    if (page === MAX_PAGES) throw new UserError(`Cannot ${what}: a listing has at most ${MAX_PAGES} pages`);
    const url: string = `${api}/tree/${body.sha}${query}`;
    const answer = await readJson(hub, what, url, treeSchema);
    files.push(...answer.body.filter(({ type }) => type === 'file').map(toHubFile));
    query = nextQuery(answer.link, url);
  }
  for (const { path } of files) refuseUnsafePath(id, path);
  return { id, commit: body.sha, files };
}

/** Reads a small JSON file of a repository. */
export async function readHubJson(hub: Hub, repository: HubRepository, path: string): Promise<unknown> {
  const url = fileUrl(hub, repository, path);
  return (await readJson(hub, `read ${path} of ${repository.id}`, url, z.json())).body;
}

/** The address of one file at the repository's commit. */
export function fileUrl(hub: Hub, repository: HubRepository, path: string): string {
  return `${hub.endpoint}/${encodePath(repository.id)}/resolve/${repository.commit}/${encodePath(path)}`;
}

function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

function toHubFile({ path, size, oid, lfs }: z.infer<typeof treeSchema>[number]): HubFile {
  if (lfs !== undefined) return { path, sizeBytes: lfs.size, hash: { algorithm: 'sha256', hex: lfs.oid } };
  return { path, sizeBytes: size, hash: { algorithm: 'gitBlob', hex: oid } };
}

/** The listing decides where files are written, so it is not trusted. */
function refuseUnsafePath(id: string, path: string): void {
  const isUnsafe = /[\\\0]|^[A-Za-z]:/.test(path) || path.split('/').some((part) => ['', '.', '..'].includes(part));
  if (isUnsafe) {
    throw new UserError(`Cannot list ${id}: file paths must stay inside the folder, got ${JSON.stringify(path)}`);
  }
}

/** Only the cursor is taken from the link, so that the token never follows it to another host. */
function nextQuery(link: string | null, url: string): string | undefined {
  const target = /<([^>]+)>\s*;[^,]*\brel="?next"?/.exec(link ?? '')?.[1];
  return target === undefined ? undefined : new URL(target, url).search;
}

async function readJson<T>(
  hub: Hub,
  what: string,
  url: string,
  schema: z.ZodType<T>,
): Promise<{ body: T; link: string | null }> {
  return withRetries(hub, what, () =>
    request(hub, url, {}, async (response, refresh) => {
      const parsed = schema.safeParse(parseJson(await readText(response, refresh)));
      if (response.status !== 200 || !parsed.success) {
        const detail = parsed.success ? `HTTP ${response.status}` : z.prettifyError(parsed.error);
        throw new UserError(`Cannot ${what}: ${url} must answer as a model hub does, got: ${detail}`);
      }
      return { body: parsed.data, link: response.headers.get('link') };
    }),
  );
}

async function readText(response: Response, refresh: () => void): Promise<string> {
  const chunks: Uint8Array[] = [];
  let receivedBytes = 0;
  for await (const chunk of response.body ?? []) {
    refresh();
    chunks.push(chunk);
    receivedBytes += chunk.byteLength;
    if (receivedBytes > MAX_JSON_BYTES) {
      throw new UserError(`Cannot read ${response.url}: a JSON answer has at most ${MAX_JSON_BYTES} bytes`);
    }
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // The schema refuses it with the address in the message.
  }
}
