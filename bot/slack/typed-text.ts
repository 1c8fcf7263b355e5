/** What people type after a slash command or a mention: words, then `--option value` as often as they like. */
import type { Command, OptionValue } from '../../commands/command.ts';

/** The options that a text gives; the words before the first `--` are the command's first required text, or its first text. */
export function readTypedText(command: Command, text: string): Record<string, OptionValue> {
  // Slack writes & < > as entities, and phones turn -- into a dash.
  const plain = text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
  const [words = '', ...rest] = plain.split(/(?:^|\s)(?:--|—)(?=[a-z])/u);
  const options: Record<string, OptionValue> = {};
  const texts = command.options.filter(({ type }) => type === 'text');
  const first = texts.find(({ isRequired }) => isRequired) ?? (texts.length === 1 ? texts[0] : command.options[0]);
  if (words.trim() !== '' && first !== undefined) options[first.name] = words.trim();
  for (const part of rest) {
    const [, name, value = ''] = /^([a-z0-9_-]+)(?:[\s=]+([\s\S]*))?$/u.exec(part.trim()) ?? [];
    if (name === undefined) continue;
    const key = name.replaceAll('-', '_');
    const isSwitch = command.options.find((option) => option.name === key)?.type === 'boolean';
    options[key] = isSwitch && value === '' ? true : unquoted(value.trim());
  }
  return options;
}

function unquoted(value: string): string {
  return /^(["“'])(.*)(["”'])$/su.exec(value)?.[2] ?? value;
}
