import { createHash } from 'node:crypto';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { openModelFolder } from '../../diffusion/model-folder.ts';
import { toBytes } from '../../diffusion/picture.ts';
import { StableDiffusion } from '../../diffusion/stable-diffusion.ts';
import { loadTextualInversionFile } from '../../diffusion/textual-inversion-file.ts';
import { float32Tensor, type SessionOptions } from '../../runtime/session.ts';
import { networkFolderName } from '../folder.ts';
import type { ControlMapKind } from '../renderer/control-maps.ts';
import { SIDE } from '../renderer/world.ts';

/** A map that controls a picture. */
export interface StudioControl {
  readonly network: 'controlnet' | 'adapter';
  readonly kind: ControlMapKind;
  /** RGB, 128 x 128 x 3. */
  readonly map: Uint8Array;
  /** 1 by default. */
  readonly scale?: number;
}

export interface StudioRequest {
  readonly prompt: string;
  readonly seed: number;
  readonly controls?: readonly StudioControl[];
  /** LoRA file of a lesson. */
  readonly lora?: string | undefined;
  /** File of a learned word. */
  readonly embedding?: string | undefined;
}

/** Makes pictures of the world with a family's model as the evaluation asks for them; must be disposed of. */
export interface Studio {
  /** RGB, 128 x 128 x 3. */
  draw(request: StudioRequest): Promise<Uint8Array>;
  dispose(): Promise<void>;
}

export interface StudioOptions {
  /** Folder of the family: model, controlnet-sketch, ... */
  readonly family: string;
  /** Model folder; the family's own by default. */
  readonly model?: string;
  readonly session: SessionOptions;
}

export const STEPS = 20;
export const GUIDANCE_SCALE = 5;

export async function openStudio({ family, model = join(family, 'model'), session }: StudioOptions): Promise<Studio> {
  const pipeline = new StableDiffusion(await openModelFolder(model), { ...session, dtype: 'float32' });
  return {
    draw: async ({ prompt, seed, controls = [], lora, embedding }) => {
      const steps = pipeline.generate({
        prompt,
        seed,
        width: SIDE,
        height: SIDE,
        numInferenceSteps: STEPS,
        guidanceScale: GUIDANCE_SCALE,
        controls: controls.map((control) => controlRequest(family, control)),
        loras: lora === undefined ? [] : [{ file: lora, scale: 1 }],
        embeddings: embedding === undefined ? [] : [await loadTextualInversionFile(embedding)],
      });
      for (let next = await steps.next(); ; next = await steps.next()) {
        if (next.done) return toBytes(next.value.image.data as Float32Array, { width: SIDE, height: SIDE });
      }
    },
    dispose: () => pipeline.dispose(),
  };
}

/** Does not draw a picture twice: several measures look at the same ones. */
export function withMemory(studio: Studio): Studio {
  const drawn = new Map<string, Promise<Uint8Array>>();
  return {
    draw: (request) => {
      const controls = request.controls?.map(({ map, ...rest }) => ({
        ...rest,
        map: createHash('sha256').update(map).digest('hex'),
      }));
      const key = JSON.stringify({ ...request, controls });
      const picture = drawn.get(key) ?? studio.draw(request);
      drawn.set(key, picture);
      return picture;
    },
    dispose: () => studio.dispose(),
  };
}

export function controlFolder(family: string, { network, kind }: Pick<StudioControl, 'network' | 'kind'>): string {
  return join(family, networkFolderName(network, kind));
}

/** Whether the family has a network, or its model, in the published layout. */
export async function isShipped(folder: string): Promise<boolean> {
  const files = ['config.json', 'model_index.json'].map((file) =>
    access(join(folder, file)).then(
      () => true,
      () => false,
    ),
  );
  return (await Promise.all(files)).includes(true);
}

function controlRequest(family: string, control: StudioControl) {
  return {
    kind: control.network,
    folder: controlFolder(family, control),
    conditioningScale: control.scale ?? 1,
    controlGuidanceStart: 0,
    controlGuidanceEnd: 1,
    isGuessMode: false,
    loadImage: async (channels: number) => float32Tensor(unitPlanes(control.map, channels), [1, channels, SIDE, SIDE]),
  };
}

/** [channels, 128, 128] in [0, 1]; of one channel the first. */
function unitPlanes(rgb: Uint8Array, channels: number): Float32Array {
  const area = SIDE * SIDE;
  return Float32Array.from({ length: channels * area }, (_, i) => rgb[3 * (i % area) + Math.floor(i / area)]! / 255);
}
