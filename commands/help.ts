import type { Command, CommandOption } from './command.ts';
import { readOptions } from './read-options.ts';

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
    'React to a result, or press its buttons: 🔄 variants, 1️⃣ to 4️⃣ vary that picture, 🖋️ edit, ℹ️ details, ❌ delete, ✉️ send to you.',
    'A taught concept shows wherever a prompt has its name: `/imagine rex on a beach`. More: `/help command`.',
  ].join('\n');
}

function describe({ name, description, options }: Command): string {
  const lines = options.map(
    (option) => `- \`${option.name}\`${option.isRequired ? ' (needed)' : ''}: ${option.description}${rangeOf(option)}`,
  );
  return [`**/${name}**: ${description}`, ...lines].join('\n');
}

function rangeOf(option: CommandOption): string {
  if (option.type === 'choice') return ` (${option.choices.join(', ')})`;
  const isBounded = (option.type === 'integer' || option.type === 'number') && option.max !== undefined;
  return isBounded ? ` (${option.min ?? 0} to ${option.max})` : '';
}
