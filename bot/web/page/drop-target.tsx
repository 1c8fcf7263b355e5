import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import { addFiles } from './draft.ts';

/** The whole page takes pictures that are dropped or pasted. */
export function DropTarget({ children }: { children: ComponentChildren }) {
  const isOver = useSignal(false);
  useEffect(() => {
    document.addEventListener('paste', takePaste);
    return () => document.removeEventListener('paste', takePaste);
  }, []);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: dropping files has its keyboard way in the fields' buttons
    <div
      class={`booth${isOver.value ? ' is-over' : ''}`}
      onDragOver={(event) => {
        if (!event.dataTransfer?.types.includes('Files')) return;
        event.preventDefault();
        isOver.value = true;
      }}
      onDragLeave={(event) => {
        if (event.relatedTarget === null) isOver.value = false;
      }}
      onDrop={(event) => {
        event.preventDefault();
        isOver.value = false;
        const field = (event.target as HTMLElement).closest<HTMLElement>('[data-option]');
        addFiles([...(event.dataTransfer?.files ?? [])], field?.dataset['option']);
      }}
    >
      {children}
      {isOver.value && <p class="drop-hint">Drop a sketch, a map, or three photos to teach from</p>}
    </div>
  );
}

function takePaste(event: ClipboardEvent): void {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length === 0) return;
  event.preventDefault();
  addFiles(files);
}
