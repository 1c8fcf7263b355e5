import { RandomGenerator } from '../runtime/random.ts';
import { type LessonPlan, planLesson } from './lesson-plans.ts';
import { batchOf, type TrainRequest, targetOf } from './train-request.ts';

/**
 * The plan of a request's lesson.
 * @throws UserError if method, settings and model do not fit
 */
export function requestedPlan(
  { model, settings, seed }: Pick<TrainRequest, 'model' | 'settings' | 'seed'>,
  { hasPrior, hasMask }: { hasPrior: boolean; hasMask: boolean },
): Promise<LessonPlan> {
  const { vaeScaleFactor } = model.vae.config;
  return planLesson(settings, {
    model,
    generator: new RandomGenerator(seed),
    lesson: {
      unet: model.unet.config,
      target: targetOf(model),
      batch: batchOf(settings) * (hasPrior ? 2 : 1),
      latentSide: settings.resolution / vaeScaleFactor,
      tokens: model.textEncoders[0]!.config.maxPositionEmbeddings,
      vaeScaleFactor,
      hasMask,
    },
  });
}
