import type { SymbolValues } from '../graph/dim.ts';
import type { Dtype, Value } from '../graph/value.ts';
import { denoiserComponents, describeDenoiser } from '../networks/denoiser.ts';
import type { LoraSlot } from '../networks/lora-inputs.ts';
import type { Checkpoint } from '../runtime/checkpoint.ts';
import { compile } from '../runtime/compile.ts';
import { OnDemand } from '../runtime/on-demand.ts';
import { RandomGenerator } from '../runtime/random.ts';
import { float32Tensor, type Session, type SessionOptions, type Tensor } from '../runtime/session.ts';
import { type ControlRequest, loadControlFeed, type OpenControl, openControls } from './controls.ts';
import type { DenoiseStep } from './denoise.ts';
import { type AppliedLora, loraFeeds } from './lora-feeds.ts';
import { loadLoraFile } from './lora-file.ts';
import type { LoraModule, LoraTarget } from './lora-names.ts';
import type { ModelFolder } from './model-folder.ts';
import { type PromptEmbeds, PromptEncoder, type PromptRequest } from './prompt-encoder.ts';
import {
  checkSampleRequest,
  conditionFeeds,
  isGuidedSampling,
  type SampleRequest,
  sampleLatents,
  schedulerFor,
} from './sample-latents.ts';
import { VaeCodec } from './vae-codec.ts';

export interface PictureRequest
  extends Omit<SampleRequest, 'prompt' | 'controls' | 'fixedFeeds' | 'randn'>,
    Omit<PromptRequest, 'loras'> {
  readonly seed: number;
  readonly controls?: readonly ControlRequest[] | undefined;
  readonly loras?: readonly (LoraFile | AppliedLora)[] | undefined;
}

/** A LoRA as it lies on the disk. */
export interface LoraFile {
  readonly file: string;
  /** 1 is as trained. */
  readonly scale: number;
}

/** Predicts noise, or whatever the model predicts, from a noised sample [N, C, H, W]; like the sample. */
export type Predict = (sample: Tensor, timestep: number) => Promise<Float32Array>;

export interface PictureResult {
  /** [1, C, H/f, W/f]. */
  readonly latents: Tensor;
  /** [1, 3, H, W], about [-1, 1]. */
  readonly image: Tensor;
  /** Parts of the prompts that did not fit into the text encoder. */
  readonly truncated: readonly string[];
}

export interface StableDiffusionOptions extends SessionOptions {
  /** Dtype that the networks compute in. */
  readonly dtype: Dtype;
  /** Side in pixels of the VAE's tiles; undefined decodes pictures whole. */
  readonly tileSampleSize?: number | undefined;
}

/** A described denoiser; two plans with one key are served by one session. */
interface DenoiserPlan {
  readonly key: string;
  readonly noisePred: Value;
  readonly loraSlots: readonly LoraSlot[];
  readonly checkpoints: Readonly<Record<string, Checkpoint>>;
  readonly symbols: SymbolValues;
  readonly typicalSymbols: SymbolValues;
}

/** What a request's pictures are made from. */
interface Prepared extends Required<Pick<SampleRequest, 'prompt' | 'controls' | 'fixedFeeds'>> {
  readonly session: Session;
}

/** A published model, loaded on a device part by part as pictures need it; makes one picture at a time; must be disposed of. */
export class StableDiffusion {
  readonly model: ModelFolder;
  readonly #options: StableDiffusionOptions;
  readonly #vae: VaeCodec;
  readonly #promptEncoder: OnDemand<PromptEncoder>;
  #denoiser: { readonly key: string; readonly session: Session } | undefined;

  constructor(model: ModelFolder, options: StableDiffusionOptions) {
    this.model = model;
    this.#options = options;
    this.#promptEncoder = new OnDemand(() => PromptEncoder.load(model, options));
    // SDXL's VAE overflows in float16.
    const isDelicate = model.vae.config.forceUpcast && model.unet.config.addition !== undefined;
    this.#vae = new VaeCodec(model.vae, { ...options, dtype: isDelicate ? 'float32' : options.dtype });
  }

  /**
   * Makes one picture, yielding after each call of the UNet; a caller that stops asking cancels it.
   * @throws UserError if the request does not fit the model
   */
  async *generate(request: PictureRequest): AsyncGenerator<DenoiseStep, PictureResult> {
    const { model } = this;
    const { session, ...feeds } = await this.#prepare(request);
    const generator = new RandomGenerator(request.seed);
    const parts = { unet: model.unet.config, scheduler: model.scheduler, vae: this.#vae, session };
    const latents = yield* sampleLatents(parts, { ...request, ...feeds, randn: (count) => generator.randn(count) });
    return { latents, image: await this.#vae.decode(latents), truncated: feeds.prompt.truncated };
  }

  /**
   * Prepares single predictions without guidance, by which models are compared; good until the next request.
   * @throws UserError if the request does not fit the model
   */
  async predictor(request: Omit<PictureRequest, 'guidanceScale' | 'numInferenceSteps' | 'controls'>): Promise<Predict> {
    const whole = { ...request, controls: [], guidanceScale: 1, numInferenceSteps: 1 };
    const { session, prompt, fixedFeeds } = await this.#prepare(whole);
    const feeds = { ...fixedFeeds, ...conditionFeeds(this.model.unet.config, { ...whole, prompt }, false) };
    return async (sample, timestep) => {
      const timesteps = float32Tensor(new Float32Array(sample.dims[0]!).fill(timestep), [sample.dims[0]!]);
      return (await session.run({ ...feeds, sample, timestep: timesteps }))['noise_pred']!.data as Float32Array;
    };
  }

  /** Encodes a prompt without anything added to the model. */
  async encodePrompt(request: PromptRequest): Promise<PromptEmbeds> {
    return (await this.#promptEncoder.get()).encode(request);
  }

  /** Checks a request and loads everything that it needs. */
  async #prepare(request: PictureRequest): Promise<Prepared> {
    const { model } = this;
    checkSampleRequest({ unet: model.unet.config, vae: model.vae.config }, request);
    schedulerFor(model.scheduler, request);
    const controls = await openControls(request.controls ?? [], { model, size: request });
    const plan = this.#planDenoiser(controls, request);
    const promptEncoder = await this.#promptEncoder.get();
    const loras = await loadLoras(request, [...plan.loraSlots, ...promptEncoder.loraSlots]);
    const prompt = await promptEncoder.encode({ ...request, loras });
    const controlFeeds = await Promise.all(controls.map(loadControlFeed));
    // The UNet comes last: by now everything that a person can get wrong has been found.
    const session = await this.#loadDenoiser(plan);
    return { session, prompt, controls: controlFeeds, fixedFeeds: loraFeeds(plan.loraSlots, loras) };
  }

  /** Decodes latents that a step yielded, for a preview. */
  decode(latents: Tensor): Promise<Tensor> {
    return this.#vae.decode(latents);
  }

  async dispose(): Promise<void> {
    await this.#denoiser?.session.dispose();
    await this.#promptEncoder.dispose();
    await this.#vae.dispose();
  }

  /** Describes the UNet with these controls in its graph. */
  #planDenoiser(controls: readonly OpenControl[], request: PictureRequest): DenoiserPlan {
    const { unet, vae } = this.model;
    const { device, dtype } = this.#options;
    const { vaeScaleFactor } = vae.config;
    const isGuided = isGuidedSampling(unet.config, request.guidanceScale);
    // Sizes that halve evenly down to the middle of the UNet: the usual case, and the faster one.
    const regular = 2 ** (unet.config.blockOutChannels.length - 1);
    const isRegular = [request.height, request.width].every((side) => (side / vaeScaleFactor) % regular === 0);
    const { noisePred, loraSlots, latentMultiple } = describeDenoiser({
      unet: unet.config,
      controlnets: controls.flatMap((control) =>
        control.kind === 'controlnet' ? [{ config: control.network.config, isGuessMode: control.isGuessMode }] : [],
      ),
      adapters: controls.flatMap((control) => (control.kind === 'adapter' ? [control.network.config] : [])),
      isGuided,
      dtype,
      vaeScaleFactor,
      latentMultiple: isRegular ? regular : 1,
      takesLora: true,
    });
    // CUDA runs fastest without shape arithmetic on the CPU; elsewhere one session serves all sizes.
    const side = (pixels: number) => pixels / vaeScaleFactor / latentMultiple;
    const size = { height: side(request.height), width: side(request.width) };
    const tokens = this.model.textEncoders[0]!.config.maxPositionEmbeddings;
    const symbols: SymbolValues = device === 'cuda' ? { batch: isGuided ? 2 : 1, images: 1, tokens, ...size } : {};
    const checkpoints: Record<string, Checkpoint> = { [denoiserComponents.unet]: unet.checkpoint };
    for (const { component, network } of controls) checkpoints[component] = network.checkpoint;
    const parts = controls.map((control) => [control.component, control.folder, control.isGuessMode]);
    const hasHalves = isGuided && controls.some((control) => control.isGuessMode);
    const key = JSON.stringify([parts, hasHalves, latentMultiple, symbols]);
    return { key, noisePred, loraSlots, checkpoints, symbols, typicalSymbols: size };
  }

  /** Loads a denoiser; it is kept until a picture needs another. */
  async #loadDenoiser({ key, noisePred, ...plan }: DenoiserPlan): Promise<Session> {
    if (this.#denoiser?.key === key) return this.#denoiser.session;
    // Two UNets at once would take twice the memory.
    await this.#denoiser?.session.dispose();
    this.#denoiser = undefined;
    const { dtype: _, tileSampleSize: __, ...sessionOptions } = this.#options;
    const { checkpoints, symbols, typicalSymbols } = plan;
    const session = await compile(
      { noise_pred: noisePred },
      { ...sessionOptions, checkpoints, symbols, typicalSymbols },
    );
    this.#denoiser = { key, session };
    return session;
  }
}

function loadLoras({ loras = [] }: PictureRequest, slots: readonly LoraSlot[]): Promise<AppliedLora[]> {
  const modules = slots.map(({ component, path, weightShape }): LoraModule => {
    return { target: component as LoraTarget, path, weightShape };
  });
  return Promise.all(
    loras.map(async (lora) =>
      'weights' in lora ? lora : { weights: await loadLoraFile(lora.file, modules), scale: lora.scale },
    ),
  );
}
