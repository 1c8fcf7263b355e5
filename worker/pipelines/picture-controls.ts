/** The controls of a picture: read, matched with a network, fed, and measured afterwards. */
import type { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import type { appliedControlSchema, Control, ControlKind, PictureJob } from '../../shared/jobs.ts';
import type { ControlRequest } from '../diffusion/controls.ts';
import { decodePicture, loadPicture, type PictureSize } from '../diffusion/picture.ts';
import { canny } from '../maps/canny.ts';
import { lineAgreement } from '../maps/line-agreement.ts';
import { sketchFromPhoto } from '../maps/sketch.ts';
import { type ControlNetwork, controlNetworksOf } from '../models/control-networks.ts';
import { listModels } from '../models/registry.ts';
import { float32Tensor } from '../runtime/session.ts';
import { fitMap, readControlMap } from './control-map.ts';
import type { JobContext } from './job-context.ts';

export type AppliedControl = z.infer<typeof appliedControlSchema>;

export interface PreparedControl {
  readonly applied: AppliedControl;
  readonly request: ControlRequest;
  readonly png: Uint8Array;
}

/**
 * Reads the controls of a job and finds a network for each: a control that cannot be applied stops the job.
 * @throws UserError that says what the model offers
 */
export async function prepareControls(
  job: PictureJob,
  size: PictureSize,
  context: JobContext,
): Promise<PreparedControl[]> {
  if (job.controls.length === 0) return [];
  const model = (await listModels(context.config)).find(({ name }) => name === job.model);
  const networks = model ? await controlNetworksOf(model, context.config) : [];
  return Promise.all(
    job.controls.map((control) => prepareControl(control, { networks, size, model: job.model }, context)),
  );
}

interface Offer {
  readonly networks: readonly ControlNetwork[];
  readonly size: PictureSize;
  readonly model: string;
}

async function prepareControl(
  control: Control,
  { networks, size, model }: Offer,
  { store }: JobContext,
): Promise<PreparedControl> {
  const own = networks.filter(({ method }) => method === control.method);
  const read = await readControlMap(
    await store.get(control.image),
    control,
    own.map(({ kind }) => kind),
  );
  const network = own.find(({ kind }) => kind === read.kind);
  if (!network) throw missing(control, read.kind, { networks, model });
  const { png, note } = await fitMap(read, size);
  const { conditioningScale, controlGuidanceStart, controlGuidanceEnd, method } = control;
  const scales = { conditioningScale, controlGuidanceStart, controlGuidanceEnd };
  return {
    png,
    applied: {
      kind: read.kind,
      method,
      network: network.name,
      map: await store.put(png, { type: 'image/png', name: `${read.kind}.png` }),
      ...scales,
      reading: note === undefined ? read.reading : `${read.reading}, ${note}`,
    },
    request: {
      kind: method === 'controlnet' ? 'controlnet' : 'adapter',
      folder: network.folder,
      loadImage: (channels) => loadMap(png, size, channels),
      ...scales,
      isGuessMode: false,
    },
  };
}

async function loadMap(png: Uint8Array, size: PictureSize, channels: number) {
  if (channels !== 1 && channels !== 3) {
    throw new UserError(`Cannot apply the control: its network must take 1 or 3 channels, got ${channels}`);
  }
  return float32Tensor(await loadPicture(png, size, { channels, range: 'unit' }), [
    1,
    channels,
    size.height,
    size.width,
  ]);
}

function missing(
  { method }: Control,
  kind: ControlKind,
  { networks, model }: { networks: readonly ControlNetwork[]; model: string },
): UserError {
  const offered = networks.map((network) => `${network.kind} by ${network.method}`).join(', ');
  return new UserError(
    `Cannot apply the control: ${model} must have a ${method} for ${kind}, and has ${offered || 'no control networks'}`,
  );
}

/** How well pictures follow a map of lines, 0 to 1; undefined for kinds that cannot be read out of a picture. */
export async function adherenceOf(
  { applied, png }: PreparedControl,
  pictures: readonly Uint8Array[],
): Promise<number | undefined> {
  const read = { sketch: sketchFromPhoto, canny } as const;
  if (applied.kind !== 'sketch' && applied.kind !== 'canny') return undefined;
  const expected = oneChannel(await decodePicture(png));
  let sum = 0;
  for (const picture of pictures) {
    sum += lineAgreement(read[applied.kind](await decodePicture(picture)), expected).f1;
  }
  return sum / pictures.length;
}

function oneChannel({ width, height, bytes }: { width: number; height: number; bytes: Uint8Array }) {
  const grey = new Uint8Array(width * height).map((_, pixel) => bytes[3 * pixel]!);
  return { width, height, channels: 1 as const, bytes: grey };
}
