import { type Dim, multiplyDims, symbol } from '../graph/dim.ts';
import { cast, input, slice } from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import type { Dtype, Value } from '../graph/value.ts';
import { type ControlnetConfig, controlnet, padUnconditional, sumResiduals } from './controlnet.ts';
import type { TimeConditions } from './embeddings.ts';
import { collectLoraSlots, type LoraSlot } from './lora-inputs.ts';
import { sumFeatures, type T2iAdapterConfig, t2iAdapter } from './t2i-adapter.ts';
import { unet } from './unet.ts';
import { SIZE_IDS, type UnetConfig } from './unet-config.ts';

export interface DenoiserOptions {
  readonly unet: UnetConfig;
  readonly controlnets?: readonly { readonly config: ControlnetConfig; readonly isGuessMode: boolean }[];
  readonly adapters?: readonly T2iAdapterConfig[];
  /** Whether batches hold an unconditional half before the conditional one; guess mode depends on it. */
  readonly isGuided: boolean;
  readonly dtype: Dtype;
  /** Pixels per latent of the VAE that belongs to the UNet. */
  readonly vaeScaleFactor: number;
  /**
   * A power of two that divides latent heights and widths, 1 if nothing is known: where sizes surely double, the upsamplers
   * need fewer products.
   */
  readonly latentMultiple?: number;
  /** Whether low-rank updates can be fed. */
  readonly takesLora: boolean;
}

export interface Denoiser {
  /** [N, outChannels, H, W]. */
  readonly noisePred: Value;
  /** Empty if the denoiser takes no updates. */
  readonly loraSlots: readonly LoraSlot[];
  /** The graph counts latent heights and widths in this many latents. */
  readonly latentMultiple: number;
}

/** Component names of the graph, under which the checkpoints are looked up. */
export const denoiserComponents = {
  unet: 'unet',
  controlnet: (index: number) => `controlnet.${index}`,
  adapter: (index: number) => `adapter.${index}`,
} as const;

/** Names of the graph inputs that belong to one control. */
export function controlInputNames(component: string): { image: string; conditioningScale: string } {
  return { image: `${component}.image`, conditioningScale: `${component}.conditioning_scale` };
}

/**
 * Describes UNet, ControlNets and T2I-Adapters as one graph: their residuals never leave the device.
 * Inputs: sample [N, C, H, W], timestep [N], encoder_hidden_states [N, T, X]; timestep_cond, text_embeds and time_ids
 * where the UNet has them; per control an image [1, C, f·H, f·W] and a scalar scale; and the factors of loraSlots.
 */
export function describeDenoiser(options: DenoiserOptions): Denoiser {
  const { controlnets = [], adapters = [], isGuided, dtype } = options;
  const hasHalves = isGuided && controlnets.some(({ isGuessMode }) => isGuessMode);
  const images = symbol('images');
  const batch: Dim = hasHalves ? multiplyDims(2, images) : symbol('batch');
  // Adapters of SDXL look at blocks of 16 pixels, twice a latent's width.
  const latentMultiple = Math.max(
    options.latentMultiple ?? 1,
    ...adapters.map(({ downscaleFactor }) => downscaleFactor / options.vaeScaleFactor),
  );
  const height = multiplyDims(latentMultiple, symbol('height'));
  const width = multiplyDims(latentMultiple, symbol('width'));
  const inputs = denoiserInputs(options, [batch, height, width]);
  const controlImage = (component: string, channels: number) => {
    const shape = [
      1,
      channels,
      multiplyDims(options.vaeScaleFactor, height),
      multiplyDims(options.vaeScaleFactor, width),
    ];
    const names = controlInputNames(component);
    return {
      image: floatInput(names.image, shape, dtype),
      conditioningScale: floatInput(names.conditioningScale, [], dtype),
    };
  };
  const conditional = hasHalves ? secondHalf(inputs, images) : inputs;
  const residuals = controlnets.map(({ config, isGuessMode }, i) => {
    const component = denoiserComponents.controlnet(i);
    const { image, conditioningScale } = controlImage(component, config.conditioningChannels);
    const seen = isGuessMode ? conditional : inputs;
    const scope = new Scope({ name: component, dtype });
    const result = controlnet(scope, config, { ...seen, controlImage: image, conditioningScale, isGuessMode });
    return isGuessMode && isGuided ? padUnconditional(result) : result;
  });
  const features = adapters.map((config, i) => {
    const component = denoiserComponents.adapter(i);
    return t2iAdapter(new Scope({ name: component, dtype }), config, controlImage(component, config.inChannels));
  });
  const { slots, lora } = collectLoraSlots(denoiserComponents.unet, dtype);
  const scope = new Scope({ name: denoiserComponents.unet, dtype, ...(options.takesLora && { lora }) });
  const controls = { controlnet: sumResiduals(residuals), adapterFeatures: sumFeatures(features) };
  return { noisePred: unet(scope, options.unet, inputs, controls), loraSlots: slots, latentMultiple };
}

interface DenoiserInputs extends TimeConditions {
  readonly sample: Value;
  readonly encoderHiddenStates: Value;
}

function denoiserInputs(
  { unet: config, dtype }: DenoiserOptions,
  [batch, height, width]: [Dim, Dim, Dim],
): DenoiserInputs {
  const { addition, timeCondProjDim, crossAttentionDim, inChannels } = config;
  return {
    sample: floatInput('sample', [batch, inChannels, height, width], dtype),
    timestep: floatInput('timestep', [batch], 'float32'),
    encoderHiddenStates: floatInput('encoder_hidden_states', [batch, symbol('tokens'), crossAttentionDim[0]!], dtype),
    timestepCond:
      timeCondProjDim === undefined ? undefined : floatInput('timestep_cond', [batch, timeCondProjDim], dtype),
    textEmbeds: addition && floatInput('text_embeds', [batch, addition.textEmbedDim], dtype),
    timeIds: addition && floatInput('time_ids', [batch, SIZE_IDS], 'float32'),
  };
}

function floatInput(name: string, shape: readonly Dim[], dtype: Dtype): Value {
  return cast(input(name, { shape, dtype: 'float32' }), dtype);
}

function secondHalf(inputs: DenoiserInputs, images: Dim): DenoiserInputs {
  const half = (value: Value) => slice(value, 0, [images, multiplyDims(2, images)]);
  return {
    sample: half(inputs.sample),
    timestep: half(inputs.timestep),
    encoderHiddenStates: half(inputs.encoderHiddenStates),
    timestepCond: inputs.timestepCond && half(inputs.timestepCond),
    textEmbeds: inputs.textEmbeds && half(inputs.textEmbeds),
    timeIds: inputs.timeIds && half(inputs.timeIds),
  };
}
