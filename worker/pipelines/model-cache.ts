import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';
import { openModelFolder } from '../diffusion/model-folder.ts';
import { StableDiffusion } from '../diffusion/stable-diffusion.ts';
import { listModels } from '../models/registry.ts';
import type { Device } from '../runtime/session.ts';

interface Loaded {
  readonly pipeline: StableDiffusion;
  /** Size of its weights on disk: about what it takes in memory. */
  readonly sizeBytes: number;
}

/** Models that stay loaded for the next job, the one unused for longest goes first. */
export class ModelCache {
  readonly #config: Config;
  readonly #device: Device;
  /** In the order of their last use. */
  readonly #loaded = new Map<string, Loaded>();

  constructor(config: Config, device: Device) {
    this.#config = config;
    this.#device = device;
  }

  names(): string[] {
    return [...this.#loaded.keys()];
  }

  /**
   * The pipeline of a model, which stays the cache's own.
   * @throws UserError if there is no such model, or it cannot be used
   */
  async get(name: string): Promise<StableDiffusion> {
    // What people in a chat write is a name, never a path.
    const known = (await listModels(this.#config)).find((model) => model.name === name);
    if (!known) throw new UserError(`Cannot find a model: there must be one of that name, got ${name}`);
    return this.open(name, known.folder);
  }

  /** The pipeline of a folder, under a name of its own. */
  async open(name: string, folder: string): Promise<StableDiffusion> {
    const known = this.#loaded.get(name);
    if (known) {
      this.#loaded.delete(name);
      this.#loaded.set(name, known);
      return known.pipeline;
    }
    const model = await openModelFolder(folder);
    const sizeBytes = await weightBytes(folder);
    await this.#makeRoom(sizeBytes);
    const { threads } = this.#config.worker;
    const pipeline = new StableDiffusion(model, {
      device: this.#device,
      dtype: this.#device === 'cuda' ? 'float16' : 'float32',
      ...(threads !== undefined && { threads }),
    });
    this.#loaded.set(name, { pipeline, sizeBytes });
    return pipeline;
  }

  async #makeRoom(sizeBytes: number): Promise<void> {
    const budget = this.#config.worker.modelMemoryBytes;
    for (const [name, { pipeline }] of this.#loaded) {
      const taken = [...this.#loaded.values()].reduce((sum, loaded) => sum + loaded.sizeBytes, 0);
      if (taken + sizeBytes <= budget) return;
      this.#loaded.delete(name);
      await pipeline.dispose();
    }
  }
}

async function weightBytes(folder: string): Promise<number> {
  const files = await readdir(folder, { recursive: true });
  const sizes = files
    .filter((file) => file.endsWith('.safetensors'))
    .map(async (file) => (await stat(join(folder, file))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
