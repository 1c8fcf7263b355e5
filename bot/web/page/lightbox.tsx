import { signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { ReplyPicture } from '../../platform.ts';
import { blobUrl, fileName } from './api.ts';
import { Icon } from './icons.tsx';

const opened = signal<{ readonly pictures: readonly ReplyPicture[]; readonly index: number } | undefined>(undefined);

export function openLightbox(pictures: readonly ReplyPicture[], index: number): void {
  opened.value = { pictures, index };
}

function close(): void {
  opened.value = undefined;
}

function turn(by: number): void {
  const { value } = opened;
  if (!value) return;
  const count = value.pictures.length;
  opened.value = { ...value, index: (value.index + by + count) % count };
}

export function Lightbox() {
  const dialog = useRef<HTMLDialogElement>(null);
  const { value } = opened;
  useEffect(() => {
    if (value && !dialog.current?.open) dialog.current?.showModal();
  }, [value]);
  if (!value) return null;
  const picture = value.pictures[value.index];
  if (!picture) return null;
  const onKeyDown = ({ key }: KeyboardEvent) => {
    if (key === 'ArrowLeft') turn(-1);
    if (key === 'ArrowRight') turn(1);
  };
  return (
    <dialog
      class="lightbox"
      ref={dialog}
      onClose={close}
      onKeyDown={onKeyDown}
      onClick={(event) => event.target === dialog.current && close()}
      aria-label="Picture"
    >
      <img src={blobUrl(picture.blob)} alt={picture.altText} />
      <p>{picture.altText}</p>
      <div class="lightbox-tools">
        {value.pictures.length > 1 && (
          <>
            <button type="button" class="round" onClick={() => turn(-1)} aria-label="Previous picture">
              <Icon name="left" />
            </button>
            <span>
              {value.index + 1} of {value.pictures.length}
            </span>
            <button type="button" class="round" onClick={() => turn(1)} aria-label="Next picture">
              <Icon name="right" />
            </button>
          </>
        )}
        <a
          class="round"
          href={blobUrl(picture.blob)}
          download={fileName(picture.blob, value.index)}
          aria-label="Download"
        >
          <Icon name="download" />
        </a>
        <button type="button" class="round" onClick={close} aria-label="Close">
          <Icon name="close" />
        </button>
      </div>
    </dialog>
  );
}
