import type { OptionValue } from '../../../commands/command.ts';
import type { WireCommand } from '../wire.ts';

/**
 * Takes `name:value` and `name:"several words"` out of what was typed, where the command has such an option.
 * @returns the text without them
 */
export function readTypedOptions(
  text: string,
  command: WireCommand,
): { text: string; values: Record<string, OptionValue> } {
  const names = new Set(command.options.filter(({ type }) => type !== 'image').map(({ name }) => name));
  const values: Record<string, OptionValue> = {};
  const rest = text.replace(
    /(^|\s)([a-z0-9_]+):("([^"]*)"|\S+)/g,
    (whole, _space, name: string, raw: string, quoted?: string) => {
      if (!names.has(name)) return whole;
      values[name] = quoted ?? raw;
      return '';
    },
  );
  return { text: rest.trim(), values };
}
