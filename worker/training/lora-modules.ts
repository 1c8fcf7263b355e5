import type { LoraModule, LoraTarget } from '../diffusion/lora-names.ts';
import type { ModelFolder } from '../diffusion/model-folder.ts';
import { describeDenoiser } from '../networks/denoiser.ts';
import type { LoraSlot } from '../networks/lora-inputs.ts';
import { textEncoderClass, unetClass } from '../networks/network-classes.ts';
import { describeTextEncoder } from '../networks/text-encoder-graph.ts';

/**
 * Lists every module of a model that a LoRA may change, with the shapes of the stored weights: unlike the slots of a
 * graph they tell the 1 x 1 convolutions around SD 1.x's transformers from linear layers, which other tools need.
 */
export function loraModulesOf({
  unet,
  textEncoders,
}: {
  unet: Pick<ModelFolder['unet'], 'config'>;
  textEncoders: readonly Pick<ModelFolder['textEncoders'][number], 'config' | 'component'>[];
}): LoraModule[] {
  const options = { dtype: 'float32', takesLora: true } as const;
  const denoiser = describeDenoiser({ unet: unet.config, ...options, isGuided: false, vaeScaleFactor: 8 });
  return [
    ...storedModules('unet', denoiser.loraSlots, unetClass.tensorShapes(unet.config)),
    ...textEncoders.flatMap(({ config, component }) => {
      const { loraSlots } = describeTextEncoder(config, { ...options, component });
      return storedModules(component, loraSlots, textEncoderClass.tensorShapes(config));
    }),
  ];
}

function storedModules(
  target: LoraTarget,
  slots: readonly LoraSlot[],
  shapes: ReadonlyMap<string, readonly number[]>,
): LoraModule[] {
  return slots.map(({ path, weightShape }) => {
    return { target, path, weightShape: shapes.get(`${path}.weight`) ?? weightShape };
  });
}
