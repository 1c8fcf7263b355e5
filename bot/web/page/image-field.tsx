import type { CommandOption } from '../../../commands/command.ts';
import { addFiles, type DraftImage, removeImage } from './draft.ts';
import { Icon } from './icons.tsx';
import { openSketchPad } from './sketch-pad.tsx';

interface ImageFieldProps {
  readonly option: Extract<CommandOption, { type: 'image' }>;
  readonly images: readonly DraftImage[];
}

/** Room for one picture or several: drop, paste, choose, or draw. */
export function ImageField({ option, images }: ImageFieldProps) {
  const { maxCount = 1, minCount = 1, name } = option;
  const isFull = images.length >= maxCount;
  return (
    <div class={`image-field${maxCount > 1 ? ' is-many' : ''}`} data-option={name}>
      <ul
        class="thumbnails"
        aria-label={maxCount > 1 ? `${images.length} of ${minCount} to ${maxCount} pictures` : name}
      >
        {images.map((image) => (
          <Thumbnail key={image.key} image={image} option={name} />
        ))}
        {!isFull && (
          <li class="slot">
            <label>
              <Icon name="picture" />
              <span>
                {maxCount > 1 ? `${images.length} of ${minCount}–${maxCount} photos` : 'drop, paste or choose'}
              </span>
              <input
                type="file"
                class="visually-hidden"
                accept="image/png,image/jpeg,image/webp"
                multiple={maxCount > 1}
                onChange={(event) => take(event, name)}
              />
            </label>
            {maxCount === 1 && (
              <button type="button" onClick={() => openSketchPad({ option: name })}>
                <Icon name="brush" /> draw
              </button>
            )}
          </li>
        )}
      </ul>
    </div>
  );
}

function Thumbnail({ image, option }: { image: DraftImage; option: string }) {
  const { key, name, url, blob, problem, sketch } = image;
  const status = problem ? 'has-problem' : blob ? '' : 'is-travelling';
  return (
    <li class={`thumbnail ${status}`}>
      <img src={url} alt={name} />
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <span class="thumbnail-tools">
        {option !== 'photos' && (
          <button
            type="button"
            class="round"
            aria-label={`Draw on ${name}`}
            title={sketch ? 'Draw on' : 'Trace it'}
            onClick={() => openSketchPad({ option, replaces: key, sketch, traceUrl: sketch ? undefined : url })}
          >
            <Icon name="brush" />
          </button>
        )}
        <button type="button" class="round" aria-label={`Remove ${name}`} onClick={() => removeImage(option, key)}>
          <Icon name="close" />
        </button>
      </span>
    </li>
  );
}

function take({ currentTarget }: Event, option: string): void {
  const input = currentTarget as HTMLInputElement;
  addFiles([...(input.files ?? [])], option);
  input.value = '';
}
