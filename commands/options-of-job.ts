/** The way back from a job to the command that asks for it: what an edit form is filled in with. */
import type { BlobRef, Job, LessonJob, PictureJob } from '../shared/jobs.ts';
import type { OptionValue } from './command.ts';

export interface AskedOptions {
  readonly command: 'imagine' | 'sketch' | 'teach';
  readonly options: Readonly<Record<string, OptionValue>>;
  readonly images: Readonly<Record<string, readonly BlobRef[]>>;
}

/** The command, options and images that lead to this job once more; concepts follow from the prompt. */
export function optionsOfJob(job: Job): AskedOptions {
  return job.kind === 'lesson' ? optionsOfLesson(job) : optionsOfPicture(job);
}

function optionsOfPicture(job: PictureJob): AskedOptions {
  const shared = {
    prompt: job.prompt,
    negative: job.negativePrompt,
    size: job.width === undefined || job.height === undefined ? undefined : `${job.width}x${job.height}`,
    steps: job.numInferenceSteps,
    guidance: job.guidanceScale,
    seed: job.seed,
    count: job.count,
    model: job.model,
    likeness: job.concepts[0]?.scale,
  };
  if (job.controls.length > 0) return optionsOfSketch(job, shared);
  const images = job.image === undefined ? {} : { image: [job.image] };
  return { command: 'imagine', options: given({ ...shared, strength: job.strength }), images };
}

function optionsOfSketch({ controls }: PictureJob, shared: Record<string, OptionValue | undefined>): AskedOptions {
  const options = { ...shared, source: controls[0]?.source };
  const images: Record<string, readonly BlobRef[]> = {};
  for (const [i, control] of controls.entries()) {
    const n = i === 0 ? '' : String(i + 1);
    images[`image${n}`] = [control.image];
    Object.assign(options, {
      [`kind${n}`]: control.kind,
      [`strength${n}`]: control.conditioningScale,
      [`method${n}`]: control.method,
      [`during${n}`]: `${control.controlGuidanceStart}-${control.controlGuidanceEnd}`,
    });
  }
  return { command: 'sketch', options: given(options), images };
}

function optionsOfLesson(job: LessonJob): AskedOptions {
  const consent = job.consent && { self: 'it is me', given: 'the person agreed' }[job.consent];
  const options = {
    name: job.name,
    class: job.classNoun,
    consent,
    method: job.method,
    steps: job.maxTrainSteps,
    model: job.model,
    keep_photos: job.isKeepingPhotos,
  };
  return { command: 'teach', options: given(options), images: { photos: job.photos } };
}

function given(options: Record<string, OptionValue | undefined>): Record<string, OptionValue> {
  const entries = Object.entries(options).filter((entry): entry is [string, OptionValue] => entry[1] !== undefined);
  return Object.fromEntries(entries);
}
