import { useEffect, useRef } from 'preact/hooks';
import type { ReplyButton, ReplyLesson } from '../../platform.ts';
import type { LossPoint } from '../wire.ts';
import { ActionButton } from './action-button.tsx';
import { blobUrl } from './api.ts';
import { openLightbox } from './lightbox.tsx';

interface StripProps {
  readonly lesson: ReplyLesson;
  readonly losses: readonly LossPoint[];
  /** The button that takes the newest sample: every sample has one like it. */
  readonly take: ReplyButton | undefined;
}

/** What a lesson drew on the way, with its loss below: the same seed at every checkpoint. */
export function LessonStrip({ lesson, losses, take }: StripProps) {
  const strip = useRef<HTMLOListElement>(null);
  const { samples } = lesson;
  useEffect(() => strip.current?.scrollTo({ left: strip.current.scrollWidth }), [samples.length]);
  const pictures = samples.map(({ picture }) => picture);
  return (
    <div class="lesson">
      {samples.length > 0 && (
        <ol class="strip" ref={strip} aria-label="Samples by step">
          {samples.map(({ step, picture }, i) => (
            <li key={step}>
              <button
                type="button"
                class="sample"
                onClick={() => openLightbox(pictures, i)}
                aria-label={`Enlarge the sample of step ${step}`}
              >
                <img src={blobUrl(picture.blob)} alt={picture.altText} />
              </button>
              <span class="step">step {step}</span>
              {take && <ActionButton button={{ ...take, argument: step }} />}
            </li>
          ))}
        </ol>
      )}
      {losses.length > 1 && <LossCurve losses={losses} />}
    </div>
  );
}

const WIDTH = 320;
const HEIGHT = 64;

/** The loss over the steps, as measured and smoothed. */
export function LossCurve({ losses }: { losses: readonly LossPoint[] }) {
  const lastStep = losses.at(-1)?.[0] ?? 1;
  const values = losses.map(([, loss]) => loss);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (step: number) => (WIDTH * step) / Math.max(1, lastStep);
  const y = (loss: number) => HEIGHT - 4 - ((HEIGHT - 8) * (loss - low)) / Math.max(1e-9, high - low);
  const line = (points: readonly LossPoint[]) =>
    points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(' ');
  const now = values.at(-1) ?? 0;
  return (
    <figure class="loss">
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`Loss from ${values[0]?.toFixed(3)} to ${now.toFixed(3)} over ${lastStep} steps`}
      >
        <polyline class="raw" points={line(losses)} />
        <polyline class="smooth" points={line(smoothed(losses))} />
      </svg>
      <figcaption>
        loss {now.toFixed(3)} at step {lastStep}
      </figcaption>
    </figure>
  );
}

/** A moving average that forgets by a quarter at every point. */
function smoothed(losses: readonly LossPoint[]): readonly LossPoint[] {
  let mean = losses[0]?.[1] ?? 0;
  return losses.map(([step, loss]) => {
    mean += (loss - mean) / 4;
    return [step, mean];
  });
}
