import { UserError } from '../../shared/errors.ts';
import type { ControlnetConfig } from '../networks/controlnet.ts';
import { denoiserComponents } from '../networks/denoiser.ts';
import { controlnetClass, t2iAdapterClass } from '../networks/network-classes.ts';
import {
  featureChannels,
  type T2iAdapterConfig,
  totalDownscaleFactor,
  wantedFeatures,
} from '../networks/t2i-adapter.ts';
import type { Tensor } from '../runtime/session.ts';
import type { ControlFeed } from './denoise.ts';
import type { ModelFolder } from './model-folder.ts';
import { type NetworkFolder, openNetwork } from './network-folder.ts';
import type { PixelSize } from './sample-latents.ts';

/** A ControlNet or T2I-Adapter that a picture is made with. */
export interface ControlRequest {
  readonly kind: 'controlnet' | 'adapter';
  /** Folder with config.json and weights; names the control in messages. */
  readonly folder: string;
  /** The network of the folder, if it has been opened already. */
  readonly network?: NetworkFolder<ControlnetConfig | T2iAdapterConfig> | undefined;
  /** Loads the control image at the picture's size: [1, channels, H, W] in [0, 1]. */
  readonly loadImage: (channels: number) => Promise<Tensor>;
  /** 1 is as trained. */
  readonly conditioningScale: number;
  /** Fractions of the steps between which the control acts. */
  readonly controlGuidanceStart: number;
  readonly controlGuidanceEnd: number;
  /** ControlNets only: the control acts on the conditional half alone, weighted from fine to coarse. */
  readonly isGuessMode: boolean;
}

/** A control whose folder has been opened and found to fit the model. */
export type OpenControl = Omit<ControlRequest, 'network'> & { readonly component: string } & (
    | { readonly kind: 'controlnet'; readonly network: NetworkFolder<ControlnetConfig> }
    | { readonly kind: 'adapter'; readonly network: NetworkFolder<T2iAdapterConfig> }
  );

/**
 * Opens the controls of a picture.
 * @throws UserError if a control was made for another family, or for another size of picture
 */
export async function openControls(
  requests: readonly ControlRequest[],
  { model, size }: { model: ModelFolder; size: PixelSize },
): Promise<OpenControl[]> {
  const counts = { controlnet: 0, adapter: 0 };
  const opened: OpenControl[] = [];
  for (const request of requests) {
    const component = denoiserComponents[request.kind](counts[request.kind]++);
    const control = await openControl(request, component);
    if (!(control.conditioningScale >= -100 && control.conditioningScale <= 100)) {
      throw misfit(control, 'its scale must be a number from -100 to 100', control.conditioningScale);
    }
    const { controlGuidanceStart: start, controlGuidanceEnd: end } = control;
    if (!(start >= 0 && start < end && end <= 1)) {
      throw misfit(control, 'start and end must satisfy 0 <= start < end <= 1', `${start} and ${end}`);
    }
    if (control.kind === 'adapter') checkAdapter(control, model, size);
    else checkControlnet(control, model);
    opened.push(control);
  }
  return opened;
}

async function openControl(request: ControlRequest, component: string): Promise<OpenControl> {
  // A request's network is of the request's kind.
  if (request.kind === 'adapter') {
    const given = request.network as NetworkFolder<T2iAdapterConfig> | undefined;
    const network = given ?? (await openNetwork(request.folder, t2iAdapterClass));
    return { ...request, kind: 'adapter', component, network };
  }
  const given = request.network as NetworkFolder<ControlnetConfig> | undefined;
  const network = given ?? (await openNetwork(request.folder, controlnetClass));
  const isGuessMode = request.isGuessMode || network.config.globalPoolConditions;
  return { ...request, kind: 'controlnet', component, network, isGuessMode };
}

/** Loads the control's image and gives what the denoiser is fed. */
export async function loadControlFeed(control: OpenControl): Promise<ControlFeed> {
  const { component, conditioningScale, controlGuidanceStart, controlGuidanceEnd } = control;
  const channels =
    control.kind === 'adapter' ? control.network.config.inChannels : control.network.config.conditioningChannels;
  const image = await control.loadImage(channels);
  return { component, image, conditioningScale, controlGuidanceStart, controlGuidanceEnd };
}

function checkControlnet(control: OpenControl & { kind: 'controlnet' }, { unet, vae }: ModelFolder): void {
  const { config } = control.network;
  const pairs = [
    ['block_out_channels', config.blockOutChannels, unet.config.blockOutChannels],
    ['cross_attention_dim', config.crossAttentionDim, unet.config.crossAttentionDim],
    ['layers_per_block', config.layersPerBlock, unet.config.layersPerBlock],
    ['in_channels', config.inChannels, vae.config.latentChannels],
    ['addition_embed_type', additionOf(config), additionOf(unet.config)],
    ['pixels per latent', config.pixelsPerLatent, vae.config.vaeScaleFactor],
  ] as const;
  for (const [field, own, wanted] of pairs) {
    if (String(own) !== String(wanted)) throw misfit(control, `its ${field} must be the model's ${wanted}`, own);
  }
}

function checkAdapter(
  control: OpenControl & { kind: 'adapter' },
  { unet, vae }: ModelFolder,
  { width, height }: PixelSize,
): void {
  const { config } = control.network;
  const factor = totalDownscaleFactor(config);
  if (width % factor !== 0 || height % factor !== 0) {
    throw misfit(control, `width and height must be multiples of ${factor}`, `${width} x ${height}`);
  }
  const isXl = config.adapterType === 'full_adapter_xl';
  const beginsWithAttention = unet.config.hasDownAttention[0]!;
  if (isXl === beginsWithAttention) {
    const rule =
      'full_adapter_xl belongs to SDXL and other UNets that begin without attention, the other types to the rest';
    throw misfit(control, rule, config.adapterType);
  }
  const scale = vae.config.vaeScaleFactor * (isXl ? 2 : 1);
  if (config.downscaleFactor !== scale) {
    throw misfit(control, `its downscale_factor must be ${scale}`, config.downscaleFactor);
  }
  const own = featureChannels(config).join();
  const wanted = wantedFeatures(unet.config.blockOutChannels, beginsWithAttention).join();
  if (own !== wanted) throw misfit(control, `its features must have the model's channels ${wanted}`, own);
}

function additionOf({ addition }: { addition: unknown }): string {
  return addition === undefined ? 'none' : 'text_time';
}

function misfit({ folder }: OpenControl, rule: string, got: unknown): UserError {
  return new UserError(`Cannot use ${folder} with this model and picture: ${rule}, got ${got}`);
}
