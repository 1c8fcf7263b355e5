import type { ModelFolder } from '../diffusion/model-folder.ts';
import type { LessonOptions } from '../training/lessons.ts';
import type { TrainingSettings } from '../training/settings.ts';
import { type LessonPlan, planLesson } from './lesson-plans.ts';
import { batchOf, dtypeOf, type TrainRequest, targetOf } from './train-request.ts';

/**
 * The plan of a request's lesson.
 * @throws UserError if method, settings and model do not fit
 */
export async function requestedPlan(
  { model, settings, seed }: Pick<TrainRequest, 'model' | 'settings' | 'seed'>,
  { hasPrior, hasMask }: { hasPrior: boolean; hasMask: boolean },
): Promise<LessonPlan> {
  const { vaeScaleFactor } = model.vae.config;
  const isOutputPreserved = hasPrior && 'diffOutputPreservation' in settings && settings.diffOutputPreservation;
  const plan = await planLesson(settings, {
    model,
    seed,
    lesson: {
      unet: model.unet.config,
      dtype: dtypeOf(settings),
      target: targetOf(model),
      batch: batchOf(settings) * (hasPrior ? 2 : 1),
      latentSide: settings.resolution / vaeScaleFactor,
      tokens: model.textEncoders[0]!.config.maxPositionEmbeddings,
      vaeScaleFactor,
      hasMask,
      isOutputPreserved,
      textEncoders: textEncodersOf(model, settings),
    },
  });
  return { ...plan, lesson: { ...plan.lesson, isRecomputed: settings.gradientCheckpointing } };
}

/** A rate and a decay of its own for the text encoder: at the UNet's rate it forgets words within a lesson. */
function textEncodersOf({ textEncoders }: ModelFolder, settings: TrainingSettings): LessonOptions['textEncoders'] {
  if (!('trainTextEncoder' in settings) || !settings.trainTextEncoder) return undefined;
  const weightDecay =
    settings.method === 'dreambooth-lora' ? settings.adamWeightDecayTextEncoder : settings.adamWeightDecay;
  const group = { learningRateScale: settings.textEncoderLr / settings.learningRate, weightDecay };
  return { encoders: textEncoders, group };
}
