import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import { COMPONENT_FILES, parseAdapterClass, parseModelIndex, roleOf } from './model-index.ts';

/** What is known of a repository before anything of it is on disk. */
export interface RepositoryView {
  id: string;
  paths: ReadonlySet<string>;
  readJson(path: string): Promise<unknown>;
}

/**
 * Picks the files that the engine reads: configurations, vocabulary, and one set of safetensors per component.
 * @param variant   "fp16" picks `*.fp16.safetensors` where there are some, the plain files elsewhere
 * @throws UserError that says what is missing
 */
export async function selectFiles(view: RepositoryView, variant: string | undefined): Promise<string[]> {
  if (view.paths.has('model_index.json')) return selectPipeline(view, variant);
  if (view.paths.has('config.json')) return selectAdapter(view, variant);
  throw new UserError(`Cannot add ${view.id}: ${whyNoModel(view)}`);
}

async function selectPipeline(view: RepositoryView, variant: string | undefined): Promise<string[]> {
  const { components } = parseModelIndex(await view.readJson('model_index.json'), view.id);
  const selected = ['model_index.json'];
  for (const { component, className } of components) {
    const role = roleOf(className);
    selected.push(...COMPONENT_FILES[role].required.map((name) => required(view, `${component}/${name}`)));
    selected.push(
      ...COMPONENT_FILES[role].optional.map((name) => `${component}/${name}`).filter((path) => view.paths.has(path)),
    );
    if (role === 'network') {
      selected.push(...(await selectWeights(view, `${component}/${weightsStem(className)}`, variant)));
    }
  }
  return selected;
}

async function selectAdapter(view: RepositoryView, variant: string | undefined): Promise<string[]> {
  const className = parseAdapterClass(await view.readJson('config.json'), view.id);
  return ['config.json', ...(await selectWeights(view, weightsStem(className), variant))];
}

/** Networks of the transformers library are saved as `model`, those of diffusers under the longer stem. */
function weightsStem(className: string): string {
  return /^(CLIP|StableDiffusionSafetyChecker)/.test(className) ? 'model' : 'diffusion_pytorch_model';
}

async function selectWeights(view: RepositoryView, stem: string, variant: string | undefined): Promise<string[]> {
  const set =
    (variant === undefined ? undefined : await weightsSet(view, variantNames(stem, variant))) ??
    (await weightsSet(view, { file: `${stem}.safetensors`, indexes: [`${stem}.safetensors.index.json`] }));
  if (set === undefined) throw new UserError(`Cannot add ${view.id}: ${whyNoWeights(view, stem)}`);
  return set;
}

interface WeightsNames {
  file: string;
  indexes: string[];
}

/** Both spellings of the variant's index are in use. */
function variantNames(stem: string, variant: string): WeightsNames {
  return {
    file: `${stem}.${variant}.safetensors`,
    indexes: [`${stem}.safetensors.index.${variant}.json`, `${stem}.${variant}.safetensors.index.json`],
  };
}

const shardIndexSchema = z.object({ weight_map: z.record(z.string(), z.string().regex(/^[\w.-]+\.safetensors$/)) });

async function weightsSet(view: RepositoryView, { file, indexes }: WeightsNames): Promise<string[] | undefined> {
  if (view.paths.has(file)) return [file];
  const index = indexes.find((path) => view.paths.has(path));
  if (index === undefined) return undefined;
  const parsed = shardIndexSchema.safeParse(await view.readJson(index));
  if (!parsed.success) {
    throw new UserError(`Cannot add ${view.id}: weight_map of ${index} must name safetensors files beside it`);
  }
  const shards = new Set(Object.values(parsed.data.weight_map));
  const folder = index.slice(0, index.lastIndexOf('/') + 1);
  return [index, ...[...shards].map((shard) => required(view, folder + shard))];
}

function required(view: RepositoryView, path: string): string {
  if (view.paths.has(path)) return path;
  throw new UserError(`Cannot add ${view.id}: it must hold ${path}, which is missing`);
}

function whyNoWeights(view: RepositoryView, stem: string): string {
  const beside = [...view.paths].filter((path) => path.startsWith(`${stem}.`));
  const variants = beside.flatMap((path) => /\.([\w-]+)\.safetensors(\.index\.json)?$/.exec(path)?.[1] ?? []);
  if (variants.length > 0) return `it has ${stem} only as a variant; add --variant ${variants[0]}`;
  const folder = stem.slice(0, stem.lastIndexOf('/') + 1);
  const pickles = [...view.paths].filter((path) => path.startsWith(folder) && path.endsWith('.bin'));
  const got = pickles.length > 0 ? `, got only ${pickles.join(', ')}, pickles that can run code when read` : '';
  return `it must hold ${stem}.safetensors${got}`;
}

function whyNoModel(view: RepositoryView): string {
  const atRoot = [...view.paths].filter((path) => !path.includes('/'));
  const small = atRoot.find((path) => /(lora|learned_embed|embedding).*\.(safetensors|bin|pt)$/i.test(path));
  if (small !== undefined) return `this command adds models, not a single LoRA or embedding file, got ${small}`;
  const checkpoint = atRoot.find((path) => /\.(safetensors|ckpt)$/.test(path));
  const got = checkpoint === undefined ? '' : `, got the single-file checkpoint ${checkpoint}`;
  const rule =
    'it must hold model_index.json and a folder per component, or config.json of a ControlNet or T2I-Adapter';
  return `${rule}${got}`;
}
