import { useEffect, useRef } from 'preact/hooks';
import type { WireCommand } from '../wire.ts';
import { ready } from './store.ts';

/** Commands that begin with what was typed after the slash; none where something else was typed. */
export function commandsMatching(text: string): readonly WireCommand[] {
  const [, typed] = /^\/(\w*)$/.exec(text) ?? [];
  const person = ready.value?.person;
  if (typed === undefined || !person) return [];
  const all = ready.value?.commands ?? [];
  return all.filter(
    ({ name, isForAdministrators }) =>
      name.startsWith(typed.toLowerCase()) && (!isForAdministrators || person.isAdministrator),
  );
}

interface MenuProps {
  readonly commands: readonly WireCommand[];
  readonly index: number;
  readonly onChoose: (command: WireCommand) => void;
}

export function CommandMenu({ commands, index, onChoose }: MenuProps) {
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => list.current?.children[index]?.scrollIntoView({ block: 'nearest' }), [index]);
  return (
    <div class="menu" id="command-menu" role="listbox" aria-label="Commands" ref={list}>
      {commands.map((command, i) => (
        // biome-ignore lint/a11y/useKeyWithClickEvents lint/a11y/useFocusableInteractive: the text field keeps the focus and has the keys
        <div
          key={command.name}
          id={`command-${i}`}
          role="option"
          aria-selected={i === index}
          onClick={() => onChoose(command)}
        >
          <code>/{command.name}</code>
          <span>{command.description}</span>
        </div>
      ))}
    </div>
  );
}
