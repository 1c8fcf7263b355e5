/** The network classes of published folders: how to read their configuration, and which tensors they have. */
import { symbol } from '../graph/dim.ts';
import { input } from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import { parametersOf, type Value } from '../graph/value.ts';
import { type ClipTextConfig, currentTextEncoderName, parseClipTextConfig } from './clip.ts';
import { type ControlnetConfig, controlnet, parseControlnetConfig } from './controlnet.ts';
import { describeDenoiser } from './denoiser.ts';
import {
  parseSafetyCheckerConfig,
  type SafetyCheckerConfig,
  safetyConceptShapes,
  safetyImageEmbeds,
} from './safety-checker.ts';
import { parseT2iAdapterConfig, type T2iAdapterConfig, t2iAdapter } from './t2i-adapter.ts';
import { describeTextEncoder } from './text-encoder-graph.ts';
import { parseUnetConfig, SIZE_IDS, type UnetConfig } from './unet-config.ts';
import { currentVaeName, parseVaeConfig, type VaeConfig } from './vae.ts';
import { describeVaeDecoder, describeVaeEncoder } from './vae-graph.ts';

export interface NetworkClass<Config> {
  /** @throws UserError that names the field, the rule and the value received */
  readonly parseConfig: (json: unknown, where: string) => Config;
  /** Name and shape of every tensor of the checkpoint that the network reads. */
  readonly tensorShapes: (config: Config) => ReadonlyMap<string, readonly number[]>;
  /** Today's spelling of a stored name; undefined for a tensor that nobody reads. */
  readonly currentName: (storedName: string) => string | undefined;
}

const asStored = (name: string): string => name;

export const unetClass: NetworkClass<UnetConfig> = {
  parseConfig: parseUnetConfig,
  tensorShapes: (unet) => {
    const options = { isGuided: false, dtype: 'float32', vaeScaleFactor: 8, takesLora: false } as const;
    return onlyComponent([describeDenoiser({ unet, ...options }).noisePred]);
  },
  currentName: asStored,
};

export const vaeClass: NetworkClass<VaeConfig> = {
  parseConfig: parseVaeConfig,
  tensorShapes: (config) =>
    onlyComponent([describeVaeEncoder(config, 'float32').moments, describeVaeDecoder(config, 'float32').image]),
  currentName: currentVaeName,
};

export const textEncoderClass: NetworkClass<ClipTextConfig> = {
  parseConfig: parseClipTextConfig,
  tensorShapes: (config) => {
    const options = { component: 'text_encoder', dtype: 'float32', takesLora: false } as const;
    return onlyComponent(Object.values(describeTextEncoder(config, options).outputs));
  },
  currentName: currentTextEncoderName,
};

export const controlnetClass: NetworkClass<ControlnetConfig> = {
  parseConfig: parseControlnetConfig,
  tensorShapes: (config) => {
    const { addition, timeCondProjDim, pixelsPerLatent } = config;
    const { downBlockResiduals, midBlockResidual } = controlnet(scope(), config, {
      sample: floats('sample', config.inChannels, 8, 8),
      timestep: floats('timestep'),
      encoderHiddenStates: floats('encoder_hidden_states', 77, config.crossAttentionDim[0]!),
      timestepCond: timeCondProjDim === undefined ? undefined : floats('timestep_cond', timeCondProjDim),
      textEmbeds: addition && floats('text_embeds', addition.textEmbedDim),
      timeIds: addition && floats('time_ids', SIZE_IDS),
      controlImage: floats('image', config.conditioningChannels, 8 * pixelsPerLatent, 8 * pixelsPerLatent),
      conditioningScale: input('scale', { shape: [], dtype: 'float32' }),
      isGuessMode: false,
    });
    return onlyComponent([...downBlockResiduals, midBlockResidual]);
  },
  currentName: asStored,
};

export const t2iAdapterClass: NetworkClass<T2iAdapterConfig> = {
  parseConfig: parseT2iAdapterConfig,
  tensorShapes: (config) => {
    const image = floats('image', config.inChannels, 16 * config.downscaleFactor, 16 * config.downscaleFactor);
    const conditioningScale = input('scale', { shape: [], dtype: 'float32' });
    return onlyComponent(t2iAdapter(scope(), config, { image, conditioningScale }));
  },
  currentName: asStored,
};

export const safetyCheckerClass: NetworkClass<SafetyCheckerConfig> = {
  parseConfig: parseSafetyCheckerConfig,
  tensorShapes: (config) => {
    const pixels = floats('pixels', 3, config.imageSize, config.imageSize);
    const network = onlyComponent([safetyImageEmbeds(scope(), config, pixels)]);
    return new Map([...safetyConceptShapes(config), ...network]);
  },
  currentName: (name) => (name.endsWith('embeddings.position_ids') ? undefined : name),
};

/** By the class name that model_index.json or config.json states. */
export const networkClasses = {
  AutoencoderKL: vaeClass,
  CLIPTextModel: textEncoderClass,
  CLIPTextModelWithProjection: textEncoderClass,
  ControlNetModel: controlnetClass,
  StableDiffusionSafetyChecker: safetyCheckerClass,
  T2IAdapter: t2iAdapterClass,
  UNet2DConditionModel: unetClass,
} as const;

function onlyComponent(outputs: readonly Value[]): ReadonlyMap<string, readonly number[]> {
  const [shapes] = [...parametersOf(outputs).values()];
  return shapes ?? new Map();
}

function scope(): Scope {
  return new Scope({ name: 'network', dtype: 'float32' });
}

function floats(name: string, ...shape: number[]): Value {
  return input(name, { shape: [symbol('batch'), ...shape], dtype: 'float32' });
}
