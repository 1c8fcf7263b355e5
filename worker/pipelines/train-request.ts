import { UserError } from '../../shared/errors.ts';
import type { ModelFolder } from '../diffusion/model-folder.ts';
import { solverSettings } from '../diffusion/schedulers/scheduler-config.ts';
import type { Dtype } from '../graph/value.ts';
import type { SessionOptions } from '../runtime/session.ts';
import type { AdamwOptions } from '../training/adamw.ts';
import type { LossTarget } from '../training/diffusion-loss.ts';
import type { TrainingSettings } from '../training/settings.ts';

/** A change of a lesson's settings that lets it take less memory. */
export interface SettingsChange
  extends Partial<
    Pick<
      TrainingSettings,
      'resolution' | 'validationSteps' | 'gradientCheckpointing' | 'trainBatchSize' | 'gradientAccumulationSteps'
    >
  > {
  readonly method?: 'dreambooth-lora';
}

/** What the person who asked for a lesson can change of it. */
export interface LessonChoices {
  /** Says a change in the way in which they make it; undefined where they cannot. */
  readonly say: (change: SettingsChange) => string | undefined;
  /** What is said where none of their changes makes the lesson fit. */
  readonly otherwise: string;
}

export interface TrainRequest {
  readonly model: ModelFolder;
  readonly settings: TrainingSettings;
  readonly seed: number;
  readonly instanceImages: string;
  /** Masks named like the instance pictures, white where the subject is. */
  readonly instanceMasks?: string | undefined;
  readonly classImages?: string | undefined;
  readonly conditioningImages?: string | undefined;
  readonly out: string;
  readonly isResumed: boolean;
  /** Folder of class pictures that lessons share. */
  readonly classImageCache: string;
  readonly session: SessionOptions;
  /** All changes by the names of the settings, by default. */
  readonly choices?: LessonChoices | undefined;
  /** A lesson that is estimated to take more is refused; what is free, by default. */
  readonly memoryLimitBytes?: number | undefined;
  /** Ends the lesson early with what has been learned as its result. */
  readonly stop?: AbortSignal | undefined;
  /** Ends the lesson early without a result; it can go on from there. */
  readonly pause?: AbortSignal | undefined;
  /** For the person: what is going on. */
  readonly onMessage: (message: string) => void;
}

/** Aborted when the lesson is to end early, with a result or without. */
export function signalOf({ stop, pause }: Pick<TrainRequest, 'stop' | 'pause'>): AbortSignal {
  return AbortSignal.any([stop, pause].filter((signal) => signal !== undefined));
}

export function adamwOf(settings: TrainingSettings): AdamwOptions {
  const {
    adamBeta1: beta1,
    adamBeta2: beta2,
    adamEpsilon: epsilon,
    adamWeightDecay: weightDecay,
    maxGradNorm,
  } = settings;
  return { beta1, beta2, epsilon, weightDecay, maxGradNorm };
}

/** Whether the class is shown beside the subject, so that a batch is twice as large. */
export function isClassKept(settings: TrainingSettings): boolean {
  return 'withPriorPreservation' in settings && (settings.withPriorPreservation || settings.diffOutputPreservation);
}

/** What the networks of a lesson compute in. */
export function dtypeOf({ mixedPrecision }: TrainingSettings): Dtype {
  return mixedPrecision === 'fp16' ? 'float16' : 'float32';
}

/** Accumulated passes are one larger batch: the mean over both is the same. */
export function batchOf({ trainBatchSize, gradientAccumulationSteps }: TrainingSettings): number {
  return trainBatchSize * gradientAccumulationSteps;
}

/** @throws UserError if no lesson teaches what the model predicts */
export function targetOf({ scheduler }: ModelFolder): LossTarget {
  const type = solverSettings(scheduler, 'ddpm').predictionType;
  if (type === 'sample') throw new UserError('Cannot train: the model must predict epsilon or v, got sample');
  return type;
}
