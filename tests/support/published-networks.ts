/** Networks of the published sizes, lowered without their weights. */
import { cudaRules } from '../../worker/graph/cuda-rules.ts';
import { multiplyDims, type SymbolValues, symbol } from '../../worker/graph/dim.ts';
import { lowerGraph } from '../../worker/graph/lowering.ts';
import type { OnnxGraph } from '../../worker/graph/onnx-graph.ts';
import { input } from '../../worker/graph/operators.ts';
import { Scope } from '../../worker/graph/scope.ts';
import type { Dtype, Value } from '../../worker/graph/value.ts';
import { clipTextEncoder, parseClipTextConfig } from '../../worker/networks/clip.ts';
import { controlnet, parseControlnetConfig } from '../../worker/networks/controlnet.ts';
import { collectLoraSlots } from '../../worker/networks/lora-inputs.ts';
import { parseT2iAdapterConfig, t2iAdapter } from '../../worker/networks/t2i-adapter.ts';
import { type UnetControls, type UnetInputs, unet } from '../../worker/networks/unet.ts';
import { parseUnetConfig } from '../../worker/networks/unet-config.ts';
import { parseVaeConfig, vaeDecoder } from '../../worker/networks/vae.ts';
import { publishedConfigs } from './published-configs.ts';

const unetConfigs = {
  'SD 1.5': publishedConfigs.unetSd1,
  'SD 2.1': publishedConfigs.unetSd2,
  SDXL: publishedConfigs.unetXl,
};

const clipConfigs = {
  'CLIP ViT-L': publishedConfigs.textEncoderSd1,
  'OpenCLIP ViT-H': publishedConfigs.textEncoderSd2,
  'OpenCLIP ViT-bigG': publishedConfigs.textEncoderXl2,
};

export type UnetFamily = keyof typeof unetConfigs;
export type ClipFamily = keyof typeof clipConfigs;

const [batch, height, width] = [symbol('batch'), symbol('height'), symbol('width')];

/** Two pictures of the size that the family was trained on; height and width count 16 pixels, as adapters want them. */
export const trainedSizes: { readonly [F in UnetFamily]: SymbolValues } = {
  'SD 1.5': { batch: 2, height: 32, width: 32 },
  'SD 2.1': { batch: 2, height: 48, width: 48 },
  SDXL: { batch: 2, height: 64, width: 64 },
};

const image = (name: string, channels: number, factor: number, dtype: Dtype) =>
  input(name, { shape: [batch, channels, multiplyDims(factor, height), multiplyDims(factor, width)], dtype });

function unetInputs(family: UnetFamily, dtype: Dtype): UnetInputs {
  const contextDim = unetConfigs[family].cross_attention_dim;
  const inputs = {
    sample: image('sample', 4, 2, dtype),
    timestep: input('timestep', { shape: [batch], dtype: 'float32' }),
    encoderHiddenStates: input('context', { shape: [batch, 77, contextDim], dtype }),
  };
  if (family !== 'SDXL') return inputs;
  return {
    ...inputs,
    textEmbeds: input('textEmbeds', { shape: [batch, 1280], dtype }),
    timeIds: input('timeIds', { shape: [batch, 6], dtype: 'float32' }),
  };
}

export interface PublishedUnetOptions {
  readonly dtype?: 'float32' | 'float16';
  /** With a ControlNet and a T2I-Adapter of the same family in the graph. */
  readonly isControlled?: boolean;
  /** With a fed low-rank update of every layer. */
  readonly hasLora?: boolean;
}

export function publishedUnet(
  family: UnetFamily,
  { dtype = 'float16', isControlled = false, hasLora = false }: PublishedUnetOptions = {},
): Record<string, Value> {
  const inputs = unetInputs(family, dtype);
  const lora = hasLora ? { lora: collectLoraSlots('unet', dtype).lora } : {};
  const controls = isControlled ? publishedControls(family, dtype) : {};
  return {
    noisePred: unet(
      new Scope({ name: 'unet', dtype, ...lora }),
      parseUnetConfig(unetConfigs[family]),
      inputs,
      controls,
    ),
  };
}

function publishedControls(family: UnetFamily, dtype: Dtype): UnetControls {
  const conditioningScale = input('scale', { shape: [], dtype });
  const controlImage = image('controlImage', 3, 16, dtype);
  const residuals = controlnet(new Scope({ name: 'controlnet', dtype }), parseControlnetConfig(unetConfigs[family]), {
    ...unetInputs(family, dtype),
    controlImage,
    conditioningScale,
    isGuessMode: false,
  });
  const config = parseT2iAdapterConfig(family === 'SDXL' ? publishedConfigs.t2iXl : publishedConfigs.t2iFull);
  const adapterFeatures = t2iAdapter(new Scope({ name: 'adapter', dtype }), config, {
    image: controlImage,
    conditioningScale,
  });
  return { controlnet: residuals, adapterFeatures };
}

export function publishedVaeDecoder(dtype: 'float32' | 'float16'): Record<string, Value> {
  const config = parseVaeConfig(publishedConfigs.vae);
  return { decoded: vaeDecoder(new Scope({ name: 'vae', dtype }), config, image('latents', 4, 2, dtype)) };
}

export function publishedTextEncoder(family: ClipFamily): Record<string, Value> {
  const { hiddenStates, lastHiddenState } = clipTextEncoder(
    new Scope({ name: 'text_encoder', dtype: 'float16' }),
    parseClipTextConfig(clipConfigs[family]),
    { inputIds: input('inputIds', { shape: [batch, 77], dtype: 'int64' }) },
  );
  return { penultimate: hiddenStates.at(-2)!, lastHiddenState };
}

/** Lowers for CUDA as if a checkpoint in float16 were there; the result can be looked at, and not run. */
export function lowerForCuda(outputs: Readonly<Record<string, Value>>, symbols: SymbolValues): OnnxGraph {
  const findParameter = () => ({ dtype: 'F16', file: '/nowhere', offset: 0, sizeBytes: 0 }) as const;
  return lowerGraph(outputs, cudaRules, { symbols, findParameter });
}
