/** Whether a lesson has the memory that it takes, before anything is computed for it. */
import { UserError } from '../../shared/errors.ts';
import { denoiserComponents } from '../networks/denoiser.ts';
import { freeMemory } from '../runtime/available-memory.ts';
import type { Checkpoint } from '../runtime/checkpoint.ts';
import { completeSettings } from '../training/complete-settings.ts';
import { traitsOf } from '../training/default-settings.ts';
import { estimateSteps, type MemoryEstimate, PROCESS_BYTES, stepsBytes } from '../training/memory-estimate.ts';
import { type GivenSettings, hasSetting, type SettingName } from '../training/settings.ts';
import { scratchLesson } from './from-scratch.ts';
import type { LessonPlan } from './lesson-plans.ts';
import { parameterCount, pictureMaps } from './model-tensors.ts';
import { requestedPlan } from './requested-plan.ts';
import {
  adamwOf,
  batchOf,
  isClassKept,
  type LessonChoices,
  type SettingsChange,
  type TrainRequest,
} from './train-request.ts';

/**
 * Says what memory a lesson will take and what is free.
 * @throws UserError with the numbers, and with what would fit, if it takes more than `memoryLimitBytes`, or than is free
 */
export async function checkMemory(request: TrainRequest): Promise<void> {
  const need = await estimateLesson(request);
  const limit = request.memoryLimitBytes ?? (await freeFor(request));
  const where = request.session.device === 'cpu' ? 'memory' : 'memory of the card';
  const known = limit === undefined ? '' : `, ${gibibytes(limit)} ${request.memoryLimitBytes ? 'allowed' : 'free'}`;
  request.onMessage(`Needs about ${gibibytes(need.totalBytes)} of ${where} (${partsOf(need)})${known}`);
  if (limit === undefined || need.totalBytes <= limit) return;
  throw new UserError(
    `Cannot train: the lesson must fit in ${gibibytes(limit)} of ${where}, got one of about ` +
      `${gibibytes(need.totalBytes)}; ${await adviceFor(request, limit)}`,
  );
}

/** What this process takes already is part of a lesson's estimate. */
async function freeFor({ session }: TrainRequest): Promise<number | undefined> {
  const free = await freeMemory(session.device);
  return free !== undefined && session.device === 'cpu' ? free + PROCESS_BYTES : free;
}

export interface LessonEstimate extends MemoryEstimate {
  /** Sessions of the sample pictures, beside the lesson's own. */
  readonly samplesBytes: number;
  /** At the lesson's peak, which may be before its first step: class pictures are made without the lesson's session. */
  readonly totalBytes: number;
}

/**
 * Pages of weights that several sessions read are counted once, as the system holds them; a process's resident size counts
 * them for each session.
 * @throws UserError if method, settings and model do not fit
 */
export async function estimateLesson(request: TrainRequest): Promise<LessonEstimate> {
  const { settings, session } = request;
  const { lesson, checkpoints } = await describeLesson(request);
  const steps = estimateSteps(lesson, adamwOf(settings), { ...session, checkpoints });
  const samplesBytes = sampleBytes(request, checkpoints);
  const totalBytes = Math.max(stepsBytes(steps) + samplesBytes, classPictureBytes(request));
  return { ...steps, samplesBytes, totalBytes };
}

async function describeLesson(request: TrainRequest): Promise<Pick<LessonPlan, 'lesson' | 'checkpoints'>> {
  const { settings, instanceMasks } = request;
  if (settings.method === 'from-scratch') {
    return { lesson: scratchLesson({ ...request, settings }), checkpoints: {} };
  }
  return requestedPlan(request, { hasPrior: isClassKept(settings), hasMask: instanceMasks !== undefined });
}

/** On the CPU sessions read weights of float32 from the same pages of the files; other weights they hold as float32. */
function sampleBytes({ model, settings, session }: TrainRequest, lessons: LessonPlan['checkpoints']): number {
  const isDrawn = settings.method !== 'from-scratch' || settings.component === 'unet';
  if (settings.validationSteps === 0 || !isDrawn) return 0;
  const { unet, vae, textEncoders } = model;
  const maps = mapsOf({ model, settings });
  const networks = {
    [denoiserComponents.unet]: unet,
    vae,
    ...Object.fromEntries(textEncoders.map((t) => [t.component, t])),
  };
  const isShared = (component: string, checkpoint: Checkpoint) => {
    return session.device === 'cpu' && lessons[component] === checkpoint && isFloat32(checkpoint);
  };
  const own = Object.entries(networks).filter(([component, { checkpoint }]) => !isShared(component, checkpoint));
  const numbers = own.reduce((sum, [, { checkpoint }]) => sum + parameterCount(checkpoint), maps);
  return session.device === 'cuda' ? 2 * numbers : 4 * numbers;
}

function isFloat32({ parameters }: Checkpoint): boolean {
  return [...parameters.values()].every(({ dtype }) => dtype === 'F32');
}

/** What class pictures take while they are made; 0 where none are. */
function classPictureBytes({ model, settings, classImages }: TrainRequest): number {
  if (!('withPriorPreservation' in settings) || !settings.withPriorPreservation || classImages) return 0;
  const networks = [model.unet, model.vae, ...model.textEncoders];
  const weights = networks.reduce((sum, { checkpoint }) => sum + parameterCount(checkpoint), 0);
  return PROCESS_BYTES + 4 * (weights + mapsOf({ model, settings }));
}

function mapsOf({ model, settings }: Pick<TrainRequest, 'model' | 'settings'>): number {
  return pictureMaps(model, settings.resolution / model.vae.config.vaeScaleFactor);
}

function partsOf({ weightsBytes, activationsBytes, stateBytes, samplesBytes }: LessonEstimate): string {
  const parts = {
    weights: weightsBytes,
    'activations and gradients': activationsBytes,
    'what learns': stateBytes,
    'sample pictures': samplesBytes,
  };
  return Object.entries(parts)
    .map(([name, bytes]) => `${name} ${gibibytes(bytes)}`)
    .join(', ');
}

export function gibibytes(bytes: number): string {
  const count = bytes / 2 ** 30;
  return `${count.toFixed(count < 10 ? 2 : 1)} GiB`;
}

const BY_NAME: LessonChoices = {
  say: (change) => JSON.stringify(change),
  otherwise: 'no smaller batch or resolution would fit',
};

async function adviceFor(request: TrainRequest, limit: number): Promise<string> {
  const choices = request.choices ?? BY_NAME;
  const fitting = await whatFits(request, { limit, choices });
  if (fitting.length === 0) return choices.otherwise;
  const said = fitting.map(({ change, bytes }) => `${choices.say(change)} (${gibibytes(bytes)})`);
  return `what would fit: ${said.join(', or ')}`;
}

interface Fitting {
  readonly change: SettingsChange;
  readonly bytes: number;
}

/** Changes of the settings by which the lesson fits: one alone if there is one, else one after the other until it does. */
async function whatFits(
  request: TrainRequest,
  { limit, choices }: { limit: number; choices: LessonChoices },
): Promise<readonly Fitting[]> {
  const changes = possibleChanges(request).filter((change) => choices.say(change) !== undefined);
  const measured = async (change: SettingsChange): Promise<Fitting> => {
    const settings = changed(request, change);
    return { change, bytes: (await estimateLesson({ ...request, settings })).totalBytes };
  };
  const fitting: Fitting[] = [];
  for (const change of changes) {
    const single = await measured(change);
    if (single.bytes <= limit) fitting.push(single);
  }
  for (let count = 2; fitting.length === 0 && count <= changes.length; count++) {
    const joint = await measured(Object.assign({}, ...changes.slice(0, count)));
    if (joint.bytes <= limit) fitting.push(joint);
  }
  return fitting;
}

/** What makes a lesson smaller, first what changes least of its result. */
function possibleChanges({ model, settings }: TrainRequest): SettingsChange[] {
  const { side } = traitsOf(model);
  const half = Math.round(settings.resolution / 128) * 64;
  const isWhole = settings.method === 'dreambooth' || settings.method === 'fine-tune';
  return [
    ...(settings.validationSteps === 0 ? [] : [{ validationSteps: 0 }]),
    ...(settings.gradientCheckpointing ? [] : [{ gradientCheckpointing: true }]),
    ...(batchOf(settings) === 1 ? [] : [{ trainBatchSize: 1, gradientAccumulationSteps: 1 }]),
    ...(isWhole ? [{ method: 'dreambooth-lora' as const }] : []),
    ...(half < settings.resolution && 2 * half >= side ? [{ resolution: half }] : []),
  ];
}

type Settings = TrainRequest['settings'];

function changed({ model, settings }: TrainRequest, { method, ...change }: SettingsChange): Settings {
  const after: Settings = { ...settings, ...change };
  return method === undefined ? after : asLora(after, traitsOf(model));
}

/** LoRA in place of all weights, with the settings that both have. */
function asLora(settings: Settings, traits: ReturnType<typeof traitsOf>): Settings {
  const shared = Object.entries(settings).filter(([name]) => hasSetting('dreambooth-lora', name as SettingName));
  const given = { instancePrompt: 'a photo', ...Object.fromEntries(shared), method: 'dreambooth-lora' };
  return completeSettings(given as GivenSettings, traits);
}
