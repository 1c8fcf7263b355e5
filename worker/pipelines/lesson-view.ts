/** What a lesson is looked at with: which pictures, and which of the measures its method has. */
import { UserError } from '../../shared/errors.ts';
import { formatBytes } from '../models/format-bytes.ts';
import { float32Tensor, type Tensor } from '../runtime/session.ts';
import { lessonInputs } from '../training/lessons.ts';
import { classPrompt } from '../training/prompts.ts';
import type { Conditions, Example } from '../training/samples.ts';
import type { TrainingMethod, TrainingSettings } from '../training/settings.ts';
import type { LessonPlan } from './lesson-plans.ts';
import { LessonViewer } from './lesson-viewer.ts';
import { parameterCount, pictureMaps } from './model-tensors.ts';
import type { TrainRequest } from './train-request.ts';

/** Methods that learn one subject from its photos: likeness is measured. */
const OF_A_SUBJECT: ReadonlySet<TrainingMethod> = new Set([
  'dreambooth',
  'dreambooth-lora',
  'fine-tune',
  'textual-inversion',
]);
/** Methods that change what the model says about other things: drift is measured. */
const CHANGING_THE_MODEL: ReadonlySet<TrainingMethod> = new Set(['dreambooth', 'dreambooth-lora', 'fine-tune']);

interface ViewedLesson extends Pick<LessonPlan, 'apply'> {
  readonly instances: readonly Example[];
  readonly instancePrompt: string | undefined;
}

/** Returns undefined if the settings ask for no looks. */
export function openViewer(
  { model, session, settings, seed, onMessage }: TrainRequest,
  { apply, instances, instancePrompt }: ViewedLesson,
): LessonViewer | undefined {
  if (settings.validationSteps === 0) return undefined;
  onMessage(describeLooks(settings, { model, session }));
  const plainPrompt = plainPromptOf(settings);
  const photos = instances.map(({ latents }) => latents);
  return new LessonViewer({
    model,
    session,
    seed,
    apply,
    prompt: samplePrompt(settings, instancePrompt),
    count: settings.numValidationImages,
    resolution: settings.resolution,
    controlImages: instances.flatMap(({ conditions }) => controlImage(conditions) ?? []),
    classPrompt: CHANGING_THE_MODEL.has(settings.method) ? plainPrompt : undefined,
    subject: OF_A_SUBJECT.has(settings.method) ? { photos, prompt: plainPrompt } : undefined,
  });
}

/** On the CPU the sessions of a model read its weights from the same pages; other devices hold a copy in half precision. */
function describeLooks(
  settings: TrainingSettings,
  { model, session }: Pick<TrainRequest, 'model' | 'session'>,
): string {
  const { resolution: side, validationSteps, numValidationImages: count } = settings;
  const maps = pictureMaps(model, side / model.vae.config.vaeScaleFactor);
  const bytes = session.device === 'cpu' ? 4 * maps : 2 * (maps + parameterCount(model.unet.checkpoint));
  const pictures = count === 1 ? 'a sample picture' : `${count} sample pictures`;
  return `Every ${validationSteps} steps ${pictures}, which take about ${formatBytes(bytes)} more memory`;
}

function samplePrompt(settings: TrainingSettings, instancePrompt: string | undefined): string {
  if (settings.validationPrompt !== undefined) return settings.validationPrompt;
  if (settings.method === 'textual-inversion') return `a photo of ${settings.placeholderToken}`;
  if (instancePrompt !== undefined) return instancePrompt;
  throw new UserError('Cannot make sample pictures: there must be a --validation-prompt, got none');
}

/** The prompt without the subject; empty where nothing says what kind of thing it is. */
function plainPromptOf(settings: TrainingSettings): string {
  if ('classPrompt' in settings && settings.classPrompt !== undefined) return settings.classPrompt;
  if ('classNoun' in settings && settings.classNoun !== undefined) return classPrompt(settings.classNoun);
  if (settings.method === 'textual-inversion') return classPrompt(settings.initializerToken);
  return '';
}

function controlImage(conditions: Conditions): Tensor | undefined {
  const image = conditions[lessonInputs.conditioningImage];
  return image && float32Tensor(image.data as Float32Array, [1, ...image.dims]);
}
