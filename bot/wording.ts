/** What the bot says, in one place. */
import type { ResultAction } from '../commands/command.ts';
import { signOf } from '../commands/signs.ts';
import type { Actor, BlobRef, Job, JobProgress, LessonResult, PictureJob, PictureResult } from '../shared/jobs.ts';
import type { SecondsRange } from './estimates.ts';
import type { JobRow } from './job-rows.ts';
import type { PlaceInLine } from './lines.ts';
import type { Reply, ReplyButton, ReplyLesson, ReplyPicture } from './platform.ts';

const MAX_SHOWN_PROMPT = 300;
const MAX_ALT_TEXT = 1024;

/** A text alone. */
export function say(text: string, options: Partial<Reply> = {}): Reply {
  return { text, pictures: [], buttons: [], isPrivate: false, mentions: [], ...options };
}

export function sayPrivately(text: string): Reply {
  return say(text, { isPrivate: true });
}

export function queuedReply(
  jobId: string,
  line: PlaceInLine,
  { eta, note }: { eta: SecondsRange; note?: string | null | undefined },
): Reply {
  const place = line.ahead === 0 ? 'Starting now' : `Queued, ${placeText(line)}`;
  return say(joinLines(note, `${place}, ${rangeText(eta)}`), { buttons: [cancelButton(jobId)], jobId });
}

/** "#3", "about #1200". */
export function placeText({ ahead, isAbout }: PlaceInLine): string {
  return isAbout ? `about #${Math.round(ahead / 100) * 100}` : `#${ahead + 1}`;
}

export function progressReply(jobId: string, progress: JobProgress, note?: string | null): Reply {
  const { stage, step, stepCount, preview, samples, loss, etaSeconds } = progress;
  const eta = etaSeconds && `, ${rangeText(etaSeconds)} left`;
  const learned = loss === undefined ? '' : `, loss ${loss.toFixed(3)}`;
  const newest = samples?.at(-1);
  const buttons: ReplyButton[] = [cancelButton(jobId)];
  if (newest) {
    buttons.unshift(
      { action: 'use-sample', jobId, argument: newest.step, label: 'Use this one', style: 'primary' },
      { action: 'stop-here', jobId, argument: newest.step, label: 'Stop here' },
    );
  }
  const pictures = samples?.length
    ? samples.slice(-4).map(samplePicture)
    : preview
      ? [{ blob: preview, altText: 'Preview of the unfinished picture' }]
      : [];
  return say(joinLines(note, `${stageText({ stage, step, stepCount })}${learned}${eta ?? ''}`), {
    pictures,
    buttons,
    progress: { done: step, total: stepCount },
    lesson: loss === undefined && !samples ? undefined : { step, loss, samples: samplesOf(samples ?? []) },
    jobId,
  });
}

/** "Drawing, 3 of 50", or the stage alone where it is of one piece. */
export function stageText({ stage, step, stepCount }: Pick<JobProgress, 'stage' | 'step' | 'stepCount'>): string {
  return stepCount === 1 ? stage : `${stage}, ${step} of ${stepCount}`;
}

function samplesOf(samples: LessonResult['samples']): ReplyLesson['samples'] {
  return samples.map((sample) => ({ step: sample.step, picture: samplePicture(sample) }));
}

function samplePicture({ step, picture }: { step: number; picture: BlobRef }): ReplyPicture {
  return { blob: picture, altText: `Sample of the lesson at step ${step}` };
}

/** What the acknowledgement shows when its job has ended. */
export function settledReply(row: JobRow): Reply {
  const seconds = row.result ? `, ${secondsText(row.result.receipt.durationSeconds)}` : '';
  const text = { succeeded: `Done${seconds}`, failed: 'This did not work', cancelled: 'Cancelled' } as const;
  const state = row.state as keyof typeof text;
  return say(joinLines(row.note, text[state]), { jobId: row.id, lesson: lastPoint(row) });
}

/** Where the curve of a lesson's loss ends, which was drawn from the progress until then; samples go with the result. */
function lastPoint({ result }: JobRow): ReplyLesson | undefined {
  if (result?.kind !== 'lesson') return undefined;
  return { step: result.receipt.steps, loss: result.receipt.finalLoss, samples: [] };
}

/** What is posted of a job's end. */
export function endReply(row: JobRow): Reply {
  const { owner } = row.reply_to;
  if (row.result?.kind === 'picture') return pictureReply(row, row.result, owner);
  if (row.result?.kind === 'lesson') return lessonReply(row, row.result, owner);
  const text = row.state === 'cancelled' ? 'Cancelled' : (row.error ?? 'This did not work');
  return say(text, { mentions: [owner], jobId: row.id });
}

function pictureReply(row: JobRow, result: PictureResult, owner: Actor): Reply {
  const { prompt, notes, controls, durationSeconds } = result.receipt;
  const seeds = result.pictures.map(({ seed }) => seed);
  const facts = [`seed ${seeds.join(', ')}`, secondsText(durationSeconds)];
  const readings = controls.map(({ kind, conditioningScale, reading, adherence }) => {
    const followed = adherence === undefined ? '' : `, followed ${percentText(adherence)}`;
    return `- ${kind} ${conditioningScale}${followed}: ${reading}`;
  });
  return say(joinLines(`**${shorten(prompt)}**`, facts.join(' · '), ...readings, ...notes.map((note) => `- ${note}`)), {
    pictures: result.pictures.map(({ blob, altText }) => ({ blob, altText: altText.slice(0, MAX_ALT_TEXT) })),
    maps: controls.map(({ map, kind }) => ({ blob: map, altText: `The ${kind} map that was followed` })),
    buttons: pictureButtons(row.id, row.job as PictureJob, result),
    mentions: [owner],
    jobId: row.id,
  });
}

function pictureButtons(jobId: string, job: PictureJob, result: PictureResult): ReplyButton[] {
  const button = (action: ResultAction): ReplyButton => ({ action, jobId, ...labelOf(action) });
  const varied = result.pictures.map((_, i): ReplyButton => {
    const { label } = signOf('vary', i + 1);
    return { action: 'vary', jobId, argument: i + 1, label };
  });
  return [
    { ...button('variants'), style: 'primary' },
    ...varied,
    ...(job.controls.length > 0 ? [button('more-control'), button('less-control')] : []),
    button('edit'),
    button('details'),
    button('send-to-me'),
    { ...button('delete'), style: 'danger' },
  ];
}

function labelOf(action: ResultAction): Pick<ReplyButton, 'label' | 'emoji'> {
  const { label, emoji } = signOf(action);
  return { label, emoji };
}

function lessonReply(row: JobRow, result: LessonResult, owner: Actor): Reply {
  const name = row.job.kind === 'lesson' ? row.job.name : '';
  const { steps, durationSeconds, notes, finalLoss } = result.receipt;
  const facts = [`${steps} steps`, `loss ${finalLoss.toFixed(3)}`, secondsText(durationSeconds)];
  const curve = result.lossCurve && curvePicture(result.lossCurve, { steps, finalLoss });
  const text = joinLines(
    `**${name}** is learned: write \`${name}\` in a prompt`,
    facts.join(' · '),
    ...notes.map((note) => `- ${note}`),
  );
  return say(text, {
    pictures: [...result.samples.slice(-4).map(samplePicture), ...(curve ? [curve] : [])],
    lesson: { step: steps, loss: finalLoss, samples: samplesOf(result.samples), curve },
    buttons: [{ action: 'details', jobId: row.id, ...labelOf('details') }],
    mentions: [owner],
    jobId: row.id,
  });
}

function curvePicture(blob: BlobRef, { steps, finalLoss }: { steps: number; finalLoss: number }): ReplyPicture {
  return { blob, altText: `Curve of the loss over the lesson’s steps: ${finalLoss.toFixed(3)} after ${steps}` };
}

function cancelButton(jobId: string): ReplyButton {
  return { action: 'cancel', jobId, label: 'Cancel', style: 'danger' };
}

/** "about 40 to 70 s", "about 3 to 6 min". */
export function rangeText([from, to]: SecondsRange | readonly [number, number]): string {
  const isMinutes = to >= 120;
  const unit = isMinutes ? 60 : 1;
  const [low, high] = [Math.max(1, Math.round(from / unit)), Math.max(1, Math.ceil(to / unit))];
  const numbers = low >= high ? `${high}` : `${low} to ${high}`;
  return `about ${numbers} ${isMinutes ? 'min' : 's'}`;
}

export function secondsText(seconds: number): string {
  return seconds < 120
    ? `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`
    : `${Math.round(seconds / 60)} min`;
}

function percentText(share: number): string {
  return `${Math.round(100 * share)} %`;
}

export function shorten(prompt: string, length = MAX_SHOWN_PROMPT): string {
  return prompt.length <= length ? prompt : `${prompt.slice(0, length - 1)}…`;
}

export function joinLines(...lines: readonly (string | null | undefined)[]): string {
  return lines.filter((line) => line).join('\n');
}

const MAX_DESCRIPTION = 60;

/** "a red car on a beach", "a lesson: Rex". */
export function describeJob(job: Job): string {
  return job.kind === 'picture' ? shorten(job.prompt, MAX_DESCRIPTION) : `a lesson: ${job.name}`;
}

/** Everything that is needed to make a result again. */
export function receiptText({ id, job, result, state }: JobRow): string {
  if (!result) return `Job \`${id}\`: ${describeJob(job)}, ${state}`;
  const { receipt } = result;
  const shared = [`- job: \`${id}\``, `- model: \`${receipt.model}\``];
  const ending = [`- device: ${receipt.device}`, `- duration: ${secondsText(receipt.durationSeconds)}`];
  if (result.kind === 'lesson') {
    const { method, steps, finalLoss, likeness, drift } = result.receipt;
    return joinLines(
      ...shared,
      `- method: ${method}, ${steps} steps, final loss ${finalLoss.toFixed(4)}`,
      `- stands for: \`${result.appliedAs.promptText}\``,
      likeness === undefined
        ? undefined
        : `- likeness of its sample to the photos: ${percentText(likeness)} of the way from the untaught model`,
      drift === undefined ? undefined : `- drift of plain pictures of its class: ${drift.toPrecision(2)} %`,
      ...ending,
    );
  }
  const { prompt, negativePrompt, numInferenceSteps, guidanceScale, scheduler, controls, concepts } = result.receipt;
  return joinLines(
    `- prompt: ${prompt}`,
    negativePrompt && `- negative prompt: ${negativePrompt}`,
    `- seeds: ${result.pictures.map(({ seed }) => seed).join(', ')}`,
    ...shared,
    `- steps: ${numInferenceSteps}, guidance ${guidanceScale}${scheduler ? `, ${scheduler}` : ''}`,
    ...controls.map((control) => {
      const during = `${control.controlGuidanceStart} to ${control.controlGuidanceEnd}`;
      return `- ${control.kind} by ${control.method} \`${control.network}\`: ${control.conditioningScale} from ${during}, map \`${control.map.hash.slice(0, 12)}\``;
    }),
    ...concepts.map(({ name, scale }) => `- concept **${name}**: ${scale}`),
    ...ending,
  );
}
