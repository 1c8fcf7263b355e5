import type { Command, CommandOption } from './command.ts';
import { readOptions } from './read-options.ts';
import { SIGNS } from './signs.ts';

/** /help over the given commands, which are all the others. */
export function helpAbout(commands: readonly Command[]) {
  const options = [
    {
      name: 'command',
      description: 'Which command; an overview by default',
      type: 'choice',
      choices: commands.map(({ name }) => name),
    },
  ] as const satisfies readonly CommandOption[];
  return {
    name: 'help',
    description: 'How to draw, steer, teach and find your way',
    options,
    act(invocation) {
      const values = readOptions('help', options, invocation);
      const command = commands.find(({ name }) => name === values.command);
      return { kind: 'say', text: command ? describe(command) : overview(commands) };
    },
  } satisfies Command;
}

function overview(commands: readonly Command[]): string {
  const lines = commands.map(({ name, description }) => `- **/${name}**: ${description}`);
  return [
    ...lines,
    '',
    `React to a result, or press its buttons: ${signs()}.`,
    'Up to three maps steer one picture, each with its strength, and from when to when: `/help sketch`.',
    'A taught concept shows wherever a prompt has its name: `/imagine rex on a beach`. More: `/help command`.',
  ].join('\n');
}

/** "🎲 variants, 1️⃣ to 4️⃣ vary that picture, ...". */
function signs(): string {
  const numbers = SIGNS.filter(({ action }) => action === 'vary').map(({ emoji }) => emoji);
  const vary = `${numbers[0]} to ${numbers.at(-1)} vary that picture`;
  const words = SIGNS.map(({ action, emoji, label }) => (action === 'vary' ? vary : `${emoji} ${label.toLowerCase()}`));
  return [...new Set(words)].join(', ');
}

function describe({ name, description, options, example }: Command): string {
  const further = options.filter((option) => isFurther(option, options));
  const lines = options.flatMap((option) => {
    if (further.includes(option)) return [];
    return `- \`${option.name}\`${option.isRequired ? ' (needed)' : ''}: ${option.description}${rangeOf(option)}`;
  });
  const names = further.map((option) => `\`${option.name}\``).join(', ');
  return [
    `**/${name}**: ${description}`,
    ...lines,
    ...(further.length > 0 ? [`- ${names}: the same for further images`] : []),
    ...(example === undefined ? [] : [`Such as: \`${example}\``]),
  ].join('\n');
}

/** Whether an option is another one once more, as kind2 is kind. */
function isFurther({ name }: CommandOption, options: readonly CommandOption[]): boolean {
  const [, base] = /^(.*)\d$/.exec(name) ?? [];
  return options.some((option) => option.name === base);
}

function rangeOf(option: CommandOption): string {
  if (option.type === 'choice') return ` (${option.choices.join(', ')})`;
  const isBounded = (option.type === 'integer' || option.type === 'number') && option.max !== undefined;
  return isBounded ? ` (${option.min ?? 0} to ${option.max})` : '';
}
