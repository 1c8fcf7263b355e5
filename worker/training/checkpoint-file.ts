import { createHash, type Hash } from 'node:crypto';
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import {
  loadTensor,
  readSafetensorsHeader,
  SafetensorsError,
  type StoredTensor,
  saveSafetensors,
  type TensorToSave,
} from '../runtime/safetensors.ts';
import { listStepFiles } from './step-files.ts';
import type { TrainedTensor, TrainedTensors } from './trained-tensors.ts';

/** Everything that a training needs to go on as if it had never stopped. */
export interface TrainingCheckpoint {
  /** Optimizer steps that are done. */
  readonly step: number;
  /** By what they are: trained weights, Adam's moments, moving averages; a group's name has no colon. */
  readonly groups: Readonly<Record<string, TrainedTensors>>;
  /** Whatever else the training needs, as JSON; whoever loads it parses it. */
  readonly state: Readonly<Record<string, unknown>>;
}

export interface LoadedCheckpoint extends TrainingCheckpoint {
  /** What was wrong with newer checkpoints, for the person; empty if the newest one is whole. */
  readonly broken: readonly string[];
}

/** The one before the newest is kept for the case that the newest turns out to be broken. */
const KEPT = 2;
const NAME = /^checkpoint-(\d+)\.safetensors$/;
const PARTIAL = /^checkpoint-\d+\.safetensors\.[\w-]+\.partial$/;
/** Name of the last tensor: the SHA-256 of the state and of every value before it. */
const DIGEST = 'sha256';
const DIGEST_BYTES = 32;

/**
 * Writes `checkpoint-<step>.safetensors` and removes all but it and the one before. The file takes its name when its
 * bytes are on the disk, so a process that is killed here leaves the older ones whole.
 * Only one training may write to a folder.
 * @throws Error if the state is not JSON; NaN and infinity are not
 */
export async function saveCheckpoint(folder: string, { step, groups, state }: TrainingCheckpoint): Promise<void> {
  const text = JSON.stringify(state, refuseNonFinite);
  const metadata = { step: String(step), state: text };
  const hash = createHash('sha256').update(JSON.stringify(metadata));
  const named = Object.entries(groups).flatMap(([group, tensors]) =>
    [...tensors].map(([name, tensor]) => [`${group}:${name}`, tensor] as const),
  );
  const tensors = named.map(([name, tensor]): [string, TensorToSave] => {
    return [name, { dtype: 'F32', shape: tensor.shape, values: () => addToDigest(hash, name, tensor) }];
  });
  // The values of a tensor are asked for when it is written, so the digest is complete when its turn comes.
  const digest: TensorToSave = { dtype: 'I64', shape: [DIGEST_BYTES / 8], values: () => hash.digest() };
  await mkdir(folder, { recursive: true });
  const file = join(folder, `checkpoint-${String(step).padStart(9, '0')}.safetensors`);
  await saveSafetensors(file, [...tensors, [DIGEST, digest]], metadata);
  await syncFolder(folder);
  await removeOthers(folder, step);
}

function refuseNonFinite(key: string, value: unknown): unknown {
  if (typeof value !== 'number' || Number.isFinite(value)) return value;
  throw new Error(`Cannot save the checkpoint: ${key} of the state must be a finite number, got ${value}`);
}

function addToDigest(hash: Hash, name: string, { shape, values }: TrainedTensor): Float32Array {
  hash.update(JSON.stringify([name, shape]));
  for (let start = 0; start < values.byteLength; start += HASH_LIMIT) {
    const size = Math.min(HASH_LIMIT, values.byteLength - start);
    hash.update(new Uint8Array(values.buffer, values.byteOffset + start, size));
  }
  return values;
}

/** One update of a hash takes less than 2 GiB; all weights of Stable Diffusion 1.5 are 3.2 GiB. */
const HASH_LIMIT = 2 ** 30;

/** Makes a new name in a folder survive a power cut; Windows cannot open folders, and does so by itself. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Later steps than the one just saved are of a training that was abandoned, or broken. */
async function removeOthers(folder: string, step: number): Promise<void> {
  const found = await listCheckpoints(folder);
  const kept = found.filter((checkpoint) => checkpoint.step <= step).slice(0, KEPT);
  const partial = (await readdir(folder)).filter((name) => PARTIAL.test(name)).map((name) => join(folder, name));
  const surplus = found.filter((checkpoint) => !kept.includes(checkpoint)).map(({ file }) => file);
  for (const file of [...partial, ...surplus]) await rm(file);
}

/** Lists the checkpoints of a folder, the newest first. */
export function listCheckpoints(folder: string): Promise<{ step: number; file: string }[]> {
  return listStepFiles(folder, NAME);
}

/**
 * Loads the newest checkpoint that is whole, and says what was wrong with those that are not.
 * @returns undefined if there is none
 * @throws UserError if there are checkpoints and all are broken
 */
export async function loadLatestCheckpoint(folder: string): Promise<LoadedCheckpoint | undefined> {
  const broken: string[] = [];
  for (const { file } of await listCheckpoints(folder)) {
    try {
      return { ...(await loadCheckpoint(file)), broken };
    } catch (error) {
      if (!(error instanceof SafetensorsError)) throw error;
      broken.push(error.message);
    }
  }
  if (broken.length === 0) return undefined;
  throw new UserError(`Cannot resume from ${resolve(folder)}: a checkpoint must be whole; ${broken.join('; ')}`);
}

const metadataSchema = z.object({ step: z.string().regex(/^\d+$/), state: z.string() });
const stateSchema = z.record(z.string(), z.unknown());

/**
 * Reads what a checkpoint says beside its tensors, which are not looked at.
 * @throws SafetensorsError if the file is no checkpoint
 */
export async function readCheckpointState(path: string): Promise<Readonly<Record<string, unknown>>> {
  const { file, metadata } = await readSafetensorsHeader(path);
  const parsed = metadataSchema.safeParse(metadata);
  if (!parsed.success) throw new SafetensorsError(file, 'it must be a training checkpoint');
  return stateSchema.parse(JSON.parse(parsed.data.state));
}

/** @throws SafetensorsError if the file is no checkpoint, or not whole */
export async function loadCheckpoint(path: string): Promise<TrainingCheckpoint> {
  const { file, tensors, metadata } = await readSafetensorsHeader(path);
  const parsed = metadataSchema.safeParse(metadata);
  const digest = tensors.get(DIGEST);
  if (!parsed.success || digest?.sizeBytes !== DIGEST_BYTES) {
    throw new SafetensorsError(file, 'it must be a training checkpoint');
  }
  const { step, state } = parsed.data;
  const hash = createHash('sha256').update(JSON.stringify({ step, state }));
  const groups: Record<string, Map<string, TrainedTensor>> = {};
  for (const stored of tensors.values()) {
    if (stored === digest) continue;
    if (stored.dtype !== 'F32') throw new SafetensorsError(file, 'a checkpoint must be F32', stored.name);
    const tensor = { shape: stored.shape, values: await loadTensor(stored) };
    addToDigest(hash, stored.name, tensor);
    const colon = stored.name.indexOf(':');
    const group = stored.name.slice(0, colon);
    groups[group] ??= new Map();
    groups[group].set(stored.name.slice(colon + 1), tensor);
  }
  if (!hash.digest().equals(await readDigest(digest))) {
    throw new SafetensorsError(file, 'its values must have the checksum at its end, got others');
  }
  return { step: Number(step), groups, state: stateSchema.parse(JSON.parse(state)) };
}

async function readDigest({ file, offset }: StoredTensor): Promise<Uint8Array> {
  const handle = await open(file);
  try {
    const bytes = new Uint8Array(DIGEST_BYTES);
    await handle.read(bytes, 0, DIGEST_BYTES, offset);
    return bytes;
  } finally {
    await handle.close();
  }
}

/** Removes all checkpoints of a folder, for a training that starts anew. */
export async function removeCheckpoints(folder: string): Promise<void> {
  for (const { file } of await listCheckpoints(folder)) await rm(file);
}
