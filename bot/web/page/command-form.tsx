import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import type { CommandOption } from '../../../commands/command.ts';
import type { WireCommand } from '../wire.ts';
import { api } from './api.ts';
import { type Draft, draftError, hideField, isSending, leaveCommand, sendDraft, setValue, showField } from './draft.ts';
import { Icon } from './icons.tsx';
import { ImageField } from './image-field.tsx';
import { OptionField } from './option-field.tsx';
import { attempt, channelId } from './store.ts';
import { readTypedOptions } from './typed-options.ts';

/** A command's form, made from its option table: the text first, pictures with what belongs to them, the rest on demand. */
export function CommandForm({ draft }: { draft: Draft }) {
  const form = useRef<HTMLFormElement>(null);
  const { command, shown } = draft;
  const { lead, groups, others } = layout(command);
  const isShown = (option: CommandOption) => option.isRequired || shown.has(option.name);
  // Before the next key: whoever types on must not lose a letter.
  useLayoutEffect(() => form.current?.querySelector<HTMLElement>('textarea, input, select')?.focus(), [command.name]);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Escape') leaveCommand();
    // Enter sends from every field; a list opens by the space bar and the arrows.
    if (event.key !== 'Enter' || (event.target as HTMLElement).tagName !== 'SELECT') return;
    event.preventDefault();
    void sendDraft();
  };
  return (
    <form
      ref={form}
      class="command-form"
      onSubmit={(event) => {
        event.preventDefault();
        void sendDraft();
      }}
      onKeyDown={onKeyDown}
    >
      <div class="command-head">
        <code>/{command.name}</code>
        <span>{draft.title ?? command.description}</span>
        <button type="button" class="round" aria-label="Leave the command" onClick={leaveCommand}>
          <Icon name="close" />
        </button>
      </div>
      <div class="fields">
        {lead && <LeadField command={command} option={lead} value={String(draft.values[lead.name] ?? '')} />}
        {lead && <Taught draft={draft} option={lead.name} />}
        <Row options={others.filter((option) => option.isRequired)} draft={draft} />
        {groups.map((group, i) => (
          <Group key={group[0]?.name} group={group} draft={draft} number={i} isAlone={groups.length === 1} />
        ))}
        <Row options={others.filter((option) => !option.isRequired && isShown(option))} draft={draft} />
      </div>
      <p class="problem" role="alert">
        {draftError.value}
      </p>
      <div class="command-foot">
        <Chips options={others.filter((option) => !isShown(option))} label="More options" />
        <button type="submit" class="primary" disabled={isSending.value}>
          {SUBMIT_WORDS[command.name] ?? 'Send'} <kbd>↵</kbd>
        </button>
      </div>
    </form>
  );
}

function Row({ options, draft }: { options: readonly CommandOption[]; draft: Draft }) {
  return (
    <div class="row">
      {options.map((option) => (
        <OptionField key={option.name} option={option} value={draft.values[option.name]} command={draft.command.name} />
      ))}
    </div>
  );
}

const SUBMIT_WORDS: Readonly<Record<string, string>> = {
  imagine: 'Draw',
  sketch: 'Draw',
  teach: 'Teach',
  cancel: 'Cancel it',
};

interface Layout {
  /** The text that the command is about. */
  readonly lead: CommandOption | undefined;
  /** An image, and the options that belong to it. */
  readonly groups: readonly (readonly CommandOption[])[];
  readonly others: readonly CommandOption[];
}

/** Options that exist again with a number (image2, kind2) belong to their image. */
function layout({ options }: WireCommand): Layout {
  const lead = options.find((option) => option.name === 'prompt');
  const bases = options.flatMap(({ name }) => (name.endsWith('2') ? [name.slice(0, -1)] : []));
  const groupOf = ({ name, type }: CommandOption) => {
    const [, base = name, number = ''] = /^(.*?)(\d?)$/.exec(name) ?? [];
    return bases.includes(base) ? number : type === 'image' ? name : undefined;
  };
  const groups = new Map<string, CommandOption[]>();
  for (const option of options) {
    const key = groupOf(option);
    if (key !== undefined) groups.set(key, [...(groups.get(key) ?? []), option]);
  }
  return {
    lead,
    groups: [...groups.values()],
    others: options.filter((option) => option !== lead && groupOf(option) === undefined),
  };
}

function LeadField({ command, option, value }: { command: WireCommand; option: CommandOption; value: string }) {
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = 'auto';
    element.style.height = `${Math.min(160, element.scrollHeight)}px`;
  }, [value]);
  const onInput = ({ currentTarget }: Event) => {
    const text = (currentTarget as HTMLTextAreaElement).value;
    // An option counts as typed once a blank follows it.
    const typed = text.endsWith(' ') ? readTypedOptions(text, command) : { text, values: {} };
    const entries = Object.entries(typed.values);
    for (const [name, typedValue] of entries) {
      showField(name);
      setValue(name, typedValue);
    }
    setValue(option.name, entries.length > 0 ? `${typed.text} ` : text);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    const typed = readTypedOptions(value, command);
    for (const [name, typedValue] of Object.entries(typed.values)) setValue(name, typedValue);
    setValue(option.name, typed.text);
    void sendDraft();
  };
  return (
    <div class="field lead">
      <label for="lead" class="visually-hidden">
        {option.name}
      </label>
      <textarea
        id="lead"
        ref={area}
        rows={1}
        value={value}
        onInput={onInput}
        onKeyDown={onKeyDown}
        placeholder={option.description}
      />
    </div>
  );
}

/** Names of taught concepts, to put into the prompt. */
function Taught({ draft, option }: { draft: Draft; option: string }) {
  const names = useSignal<readonly string[]>([]);
  useEffect(() => {
    void attempt(async () => {
      names.value = await api.complete(channelId.value, 'concepts', '');
    });
  }, []);
  if (names.value.length === 0) return null;
  const insert = (name: string) => {
    setValue(option, `${String(draft.values[option] ?? '').trimEnd()} ${name} `.trimStart());
    document.getElementById('lead')?.focus();
  };
  return (
    <ul class="chips" aria-label="Taught concepts">
      {names.value.slice(0, 8).map((name) => (
        <li key={name}>
          <button type="button" class="chip is-taught" onClick={() => insert(name)}>
            {name}
          </button>
        </li>
      ))}
    </ul>
  );
}

interface GroupProps {
  readonly group: readonly CommandOption[];
  readonly draft: Draft;
  readonly number: number;
  readonly isAlone: boolean;
}

/** An image and its options; a further map appears once the one before has its image. */
function Group({ group, draft, number, isAlone }: GroupProps) {
  const [image, ...rest] = group;
  if (image?.type !== 'image') return null;
  const images = draft.images[image.name] ?? [];
  const isOpen = images.length > 0 || image.isRequired || draft.shown.has(image.name);
  if (!isOpen) {
    const hasRoom = number === 0 || (draft.images[`image${number === 1 ? '' : number}`]?.length ?? 0) > 0;
    if (!hasRoom) return null;
    return (
      <button type="button" class="chip" onClick={() => showField(image.name)}>
        <Icon name="plus" /> {isAlone ? image.description : 'another map'}
      </button>
    );
  }
  const isShown = ({ name }: CommandOption) => draft.shown.has(name) || /^(kind|strength)/.test(name);
  return (
    <fieldset class="group">
      <legend>{isAlone ? image.name : `map ${number + 1}`}</legend>
      <ImageField option={image} images={images} />
      <div class="row">
        {rest.filter(isShown).map((option) => (
          <OptionField
            key={option.name}
            option={option}
            value={draft.values[option.name]}
            command={draft.command.name}
          />
        ))}
        <Chips options={rest.filter((option) => !isShown(option))} label={`More options of map ${number + 1}`} />
      </div>
      {!image.isRequired && images.length === 0 && (
        <button
          type="button"
          class="round remove-field"
          aria-label={`Leave out ${image.name}`}
          onClick={() => hideField(image.name)}
        >
          <Icon name="close" />
        </button>
      )}
    </fieldset>
  );
}

function Chips({ options, label }: { options: readonly CommandOption[]; label: string }) {
  if (options.length === 0) return <span />;
  return (
    <ul class="chips" aria-label={label}>
      {options.map(({ name, description }) => (
        <li key={name}>
          <button type="button" class="chip" title={description} onClick={() => openField(name)}>
            <Icon name="plus" /> {name.replace(/\d$/, '').replace('_', ' ')}
          </button>
        </li>
      ))}
    </ul>
  );
}

function openField(name: string): void {
  showField(name);
  requestAnimationFrame(() => document.getElementById(`option-${name}`)?.focus());
}
