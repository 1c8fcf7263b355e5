import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';

export interface ModelComponent {
  /** Key in model_index.json and name of the folder. */
  component: string;
  className: string;
}

/** What model_index.json says: which class fills which slot. */
export interface ModelIndex {
  className: string;
  components: ModelComponent[];
}

/** A network has weights; the other roles are configuration alone. */
export type ComponentRole = 'scheduler' | 'tokenizer' | 'preprocessor' | 'network';

/** The small files of a component's folder. */
export const COMPONENT_FILES: { [Role in ComponentRole]: { required: string[]; optional: string[] } } = {
  scheduler: { required: ['scheduler_config.json'], optional: [] },
  tokenizer: {
    required: ['vocab.json', 'merges.txt'],
    optional: ['tokenizer_config.json', 'special_tokens_map.json'],
  },
  preprocessor: { required: ['preprocessor_config.json'], optional: [] },
  network: { required: ['config.json'], optional: [] },
};

const ADAPTER_CLASSES = ['ControlNetModel', 'T2IAdapter'] as const;
export type AdapterClass = (typeof ADAPTER_CLASSES)[number];

const modelIndexSchema = z.looseObject({ _class_name: z.string() });
const slotSchema = z.tuple([z.string(), z.string()]);
const classSchema = z.looseObject({ _class_name: z.string() });

/**
 * Parses model_index.json; empty slots `[null, null]`, scalars and keys with a leading underscore name no component.
 * @param source   what the errors call the model
 * @throws UserError when it is not an index, or not of a Stable Diffusion family with a UNet
 */
export function parseModelIndex(json: unknown, source: string): ModelIndex {
  const parsed = modelIndexSchema.safeParse(json);
  if (!parsed.success) {
    throw new UserError(`Cannot read model_index.json of ${source}: it must be an object with _class_name`);
  }
  const { _class_name: className, ...slots } = parsed.data;
  const components = Object.entries(slots).flatMap(([component, slot]) => {
    const filled = slotSchema.safeParse(slot);
    return filled.success && !component.startsWith('_') ? [{ component, className: filled.data[1] }] : [];
  });
  const bad = components.find(({ component }) => !/^\w+$/.test(component));
  if (bad !== undefined) {
    const got = JSON.stringify(bad.component);
    throw new UserError(`Cannot read model_index.json of ${source}: components are folder names, got ${got}`);
  }
  const unet = components.find(({ component }) => component === 'unet')?.className;
  if (unet !== 'UNet2DConditionModel') {
    const rule = 'a model needs a unet of class UNet2DConditionModel';
    throw new UserError(`Cannot use ${source}: ${rule}, got ${unet ?? `a ${className} without a unet`}`);
  }
  return { className, components };
}

/**
 * Parses the config.json of a repository that is one network by itself.
 * @throws UserError when it is neither a ControlNet nor a T2I-Adapter
 */
export function parseAdapterClass(json: unknown, source: string): AdapterClass {
  const className = classSchema.safeParse(json).data?._class_name;
  const known = ADAPTER_CLASSES.find((adapterClass) => adapterClass === className);
  if (known !== undefined) return known;
  const rule = `without model_index.json its config.json must be of class ${ADAPTER_CLASSES.join(' or ')}`;
  throw new UserError(`Cannot use ${source}: ${rule}, got ${className ?? 'no _class_name'}`);
}

/** Tells what a component's folder holds. */
export function roleOf(className: string): ComponentRole {
  if (className.endsWith('Scheduler')) return 'scheduler';
  if (/Tokenizer(Fast)?$/.test(className)) return 'tokenizer';
  if (/(FeatureExtractor|ImageProcessor)$/.test(className)) return 'preprocessor';
  return 'network';
}
