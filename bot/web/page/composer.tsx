import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import type { WireCommand } from '../wire.ts';
import { api } from './api.ts';
import { CommandForm } from './command-form.tsx';
import { CommandMenu, commandsMatching } from './command-menu.tsx';
import { addFiles, beginCommand, commandNamed, draft, leftDraft, plainText, setValue, takeUpCommand } from './draft.ts';
import { Icon } from './icons.tsx';
import { drawSketch } from './sketch-pad.tsx';
import { attempt, channelId } from './store.ts';
import { readTypedOptions } from './typed-options.ts';

/** Where one writes: plain words, or a command once one is begun. */
export function Composer() {
  return (
    <section class="composer" id="composer" aria-label="Write">
      {draft.value ? <CommandForm draft={draft.value} /> : <PlainForm />}
    </section>
  );
}

function PlainForm() {
  const input = useRef<HTMLTextAreaElement>(null);
  const selected = useSignal(0);
  const text = plainText.value;
  const matches = commandsMatching(text);
  const index = Math.min(selected.value, matches.length - 1);
  useLayoutEffect(() => {
    if (matchMedia('(min-width: 720px)').matches) input.current?.focus();
  }, [channelId.value]);
  useEffect(() => {
    const typeHere = (event: KeyboardEvent) => {
      if (isTypedNowhere(event)) input.current?.focus();
    };
    document.addEventListener('keydown', typeHere);
    return () => document.removeEventListener('keydown', typeHere);
  }, []);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.isComposing) return;
    const { key } = event;
    if (matches.length > 0 && (key === 'ArrowDown' || key === 'ArrowUp')) {
      event.preventDefault();
      selected.value = (index + (key === 'ArrowDown' ? 1 : -1) + matches.length) % matches.length;
    } else if (matches.length > 0 && (key === 'Tab' || (key === 'Enter' && !event.shiftKey))) {
      event.preventDefault();
      choose(matches[index]);
    } else if (key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      void send();
    } else if (key === 'Escape') plainText.value = '';
  };
  const onInput = ({ currentTarget }: Event) => {
    selected.value = 0;
    takeText((currentTarget as HTMLTextAreaElement).value);
  };
  return (
    <form
      class="plain-form"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      {leftDraft.value && text === '' && (
        <button type="button" class="chip left-draft" onClick={takeUpCommand}>
          go on with /{leftDraft.value.command.name}
        </button>
      )}
      {matches.length > 0 && <CommandMenu commands={matches} index={index} onChoose={choose} />}
      <button
        type="button"
        class="round"
        aria-label="Commands"
        title="Commands ( / )"
        onClick={() => {
          plainText.value = '/';
          input.current?.focus();
        }}
      >
        <span aria-hidden="true" class="slash">
          /
        </span>
      </button>
      <textarea
        ref={input}
        rows={1}
        value={text}
        onInput={onInput}
        onKeyDown={onKeyDown}
        placeholder="Write, or type / for commands"
        aria-label="Message or command"
        role="combobox"
        aria-expanded={matches.length > 0}
        aria-controls="command-menu"
        aria-activedescendant={matches.length > 0 ? `command-${index}` : undefined}
      />
      <button type="button" class="round" aria-label="Draw a sketch" title="Draw a sketch" onClick={drawSketch}>
        <Icon name="brush" />
      </button>
      <label class="round" title="Add pictures">
        <Icon name="picture" />
        <span class="visually-hidden">Add pictures</span>
        <input
          type="file"
          class="visually-hidden"
          accept="image/png,image/jpeg,image/webp"
          multiple
          onChange={takeFiles}
        />
      </label>
      {text.trim() !== '' && (
        <button type="submit" class="round primary" aria-label="Send">
          <Icon name="send" />
        </button>
      )}
    </form>
  );
}

/** A letter that no field takes is meant for the composer. */
function isTypedNowhere({ key, ctrlKey, metaKey, altKey, target }: KeyboardEvent): boolean {
  const isLetter = key.length === 1 && key !== ' ' && !ctrlKey && !metaKey && !altKey;
  return isLetter && !(target as Element).closest('input, textarea, select, dialog, [role="toolbar"]');
}

function choose(command: WireCommand | undefined): void {
  if (command) beginCommand(command);
}

/** "/imagine " begins the command at once, and what was pasted after it goes on as its text. */
function takeText(text: string): void {
  const [, name, rest] = /^\/(\w+)\s([\s\S]*)$/.exec(text) ?? [];
  const command = name === undefined ? undefined : commandNamed(name);
  if (!command) {
    plainText.value = text;
    return;
  }
  beginCommand(command);
  const lead = command.options.find((option) => option.type === 'text');
  const typed = readTypedOptions(rest ?? '', command);
  for (const [option, value] of Object.entries(typed.values)) setValue(option, value);
  if (lead && typed.text !== '') setValue(lead.name, typed.text);
}

async function send(): Promise<void> {
  const text = plainText.value.trim();
  if (text === '' || text.startsWith('/')) return;
  plainText.value = '';
  const outcome = await attempt(() => api.say(channelId.value, text));
  if (outcome === undefined) plainText.value = text;
}

function takeFiles({ currentTarget }: Event): void {
  const input = currentTarget as HTMLInputElement;
  addFiles([...(input.files ?? [])]);
  input.value = '';
}
