import type { Reply, ReplyButton, ReplyPicture } from '../../platform.ts';
import type { LossPoint } from '../wire.ts';
import { ActionButton } from './action-button.tsx';
import { blobUrl, fileName } from './api.ts';
import { Icon } from './icons.tsx';
import { LessonStrip, LossCurve } from './lesson-strip.tsx';
import { openLightbox } from './lightbox.tsx';
import { Markdown } from './markdown.tsx';
import { percent } from './running-jobs.ts';

export function ReplyView({ reply, losses }: { reply: Reply; losses: readonly LossPoint[] }) {
  const { text, mentions, progress, pictures, maps, buttons, lesson } = reply;
  const inStrip = (button: ReplyButton) => lesson !== undefined && button.action === 'use-sample';
  const plain = buttons.filter((button) => !inStrip(button));
  const ofLesson = lesson
    ? [...lesson.samples.map(({ picture }) => picture), ...(lesson.curve ? [lesson.curve] : [])]
    : [];
  const inLesson = new Set(ofLesson.map(({ blob }) => blob.hash));
  const inGallery = pictures.filter(({ blob }) => !inLesson.has(blob.hash));
  return (
    <div class="reply">
      {mentions.length > 0 && (
        <p class="mentions">
          {mentions.map(({ userId, displayName }) => (
            <span key={userId}>@{displayName}</span>
          ))}
        </p>
      )}
      {text && <Markdown text={text} />}
      {progress && <ProgressBar {...progress} />}
      {lesson && <LessonStrip lesson={lesson} losses={losses} take={buttons.find(inStrip)} />}
      {!lesson && losses.length > 1 && (
        <div class="lesson">
          <LossCurve losses={losses} />
        </div>
      )}
      {inGallery.length > 0 && <Gallery pictures={inGallery} isPreview={progress !== undefined} />}
      {maps && maps.length > 0 && <Maps maps={maps} />}
      {plain.length > 0 && <Buttons buttons={plain} />}
    </div>
  );
}

function ProgressBar({ done, total }: { done: number; total: number }) {
  const share = percent({ done, total });
  return (
    <div class="bar">
      <progress value={done} max={Math.max(1, total)} aria-label="Progress" />
      <span aria-hidden="true">{share} %</span>
    </div>
  );
}

function Gallery({ pictures, isPreview }: { pictures: readonly ReplyPicture[]; isPreview: boolean }) {
  const size = Math.min(4, pictures.length);
  return (
    <div class={`gallery of-${size}${isPreview ? ' is-preview' : ''}`}>
      {pictures.map(({ blob, altText }, i) => (
        <figure key={`${blob.hash}${i}`}>
          <button
            type="button"
            onClick={() => openLightbox(pictures, i)}
            aria-label={`Enlarge picture ${i + 1} of ${pictures.length}: ${altText}`}
          >
            <img src={blobUrl(blob)} alt={altText} />
          </button>
          {!isPreview && (
            <a
              class="round over"
              href={blobUrl(blob)}
              download={fileName(blob, i)}
              aria-label={`Download picture ${i + 1}`}
            >
              <Icon name="download" />
            </a>
          )}
        </figure>
      ))}
    </div>
  );
}

function Maps({ maps }: { maps: readonly ReplyPicture[] }) {
  return (
    <div class="maps">
      {maps.map(({ blob, altText }, i) => (
        <button
          type="button"
          key={`${blob.hash}${i}`}
          title={altText}
          aria-label={`Enlarge: ${altText}`}
          onClick={() => openLightbox(maps, i)}
        >
          <img src={blobUrl(blob)} alt="" loading="lazy" />
        </button>
      ))}
    </div>
  );
}

/** Buttons in a row; those that vary one picture each are one group. */
function Buttons({ buttons }: { buttons: readonly ReplyButton[] }) {
  const vary = buttons.filter(({ action }) => action === 'vary');
  const others = buttons.filter(({ action }) => action !== 'vary');
  return (
    <div class="buttons">
      {others.map((button) => (
        <ActionButton key={keyOf(button)} button={button} />
      ))}
      {vary.length > 0 && (
        // biome-ignore lint/a11y/useSemanticElements: a fieldset would be a form's
        <div class="segments" role="group" aria-label="Vary one picture">
          <span aria-hidden="true">Vary</span>
          {vary.map((button) => (
            <ActionButton key={keyOf(button)} button={button} label={String(button.argument)} />
          ))}
        </div>
      )}
    </div>
  );
}

const keyOf = ({ action, argument, jobId }: ReplyButton) => `${action} ${argument} ${jobId}`;
