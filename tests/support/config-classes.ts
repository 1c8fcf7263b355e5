/** The configuration parsers of all published classes behind one type. */
import { parseSchedulerConfig } from '../../worker/diffusion/schedulers/scheduler-config.ts';
import { networkClasses } from '../../worker/networks/network-classes.ts';

export interface ConfigClass {
  readonly parse: (json: unknown) => unknown;
  /** Parses, and lists the tensors of what was accepted; a scheduler has none. */
  readonly describe: (json: unknown) => ReadonlyMap<string, readonly number[]>;
}

/** Hides which configuration a class makes: here each is only given what it made itself. */
function classOf(name: keyof typeof networkClasses): ConfigClass {
  const { parseConfig, tensorShapes } = networkClasses[name] as (typeof networkClasses)['UNet2DConditionModel'];
  const parse = (json: unknown) => parseConfig(json, 'config.json');
  return { parse, describe: (json) => tensorShapes(parse(json)) };
}

export const configClasses = {
  unet: classOf('UNet2DConditionModel'),
  controlnet: classOf('ControlNetModel'),
  adapter: classOf('T2IAdapter'),
  vae: classOf('AutoencoderKL'),
  clip: classOf('CLIPTextModel'),
  safety: classOf('StableDiffusionSafetyChecker'),
  scheduler: {
    parse: parseSchedulerConfig,
    describe: (json: unknown) => {
      parseSchedulerConfig(json);
      return new Map<string, readonly number[]>();
    },
  },
} satisfies Record<string, ConfigClass>;
