import { type REST, Routes } from 'discord.js';
import type { CommandPayload } from './command-payload.ts';

export interface RegistrationScope {
  readonly applicationId: string;
  /** A server that knows the commands at once; undefined registers them everywhere. */
  readonly serverId: string | undefined;
}

/**
 * Writes the commands if Discord knows others: writing is limited to 200 new commands a day, reading is not. Commands of one
 * server are not left registered everywhere too, since people would see each twice.
 * @returns whether any were written
 */
export async function registerCommands(
  rest: REST,
  { applicationId, serverId }: RegistrationScope,
  payloads: readonly CommandPayload[],
): Promise<boolean> {
  const everywhere = Routes.applicationCommands(applicationId);
  if (serverId === undefined) return writeChanged(rest, everywhere, payloads);
  const isCleared = await writeChanged(rest, everywhere, []);
  const isWritten = await writeChanged(rest, Routes.applicationGuildCommands(applicationId, serverId), payloads);
  return isCleared || isWritten;
}

async function writeChanged(rest: REST, route: `/${string}`, payloads: readonly CommandPayload[]): Promise<boolean> {
  const known = (await rest.get(route)) as KnownCommand[];
  if (fingerprint(known) === fingerprint(payloads)) return false;
  await rest.put(route, { body: payloads });
  return true;
}

type KnownCommand = Omit<CommandPayload, 'default_member_permissions'> & {
  readonly default_member_permissions: string | number | null;
};

/** What of a command counts: Discord adds ids, versions and defaults, and writes permissions as text. */
function fingerprint(commands: readonly KnownCommand[]): string {
  const entries = commands.map((command) => [
    command.name,
    command.type,
    command.description ?? '',
    (command.options ?? []).map(optionEntry),
    command.default_member_permissions === null ? null : String(command.default_member_permissions),
    [...(command.contexts ?? [])].sort(),
    [...(command.integration_types ?? [])].sort(),
  ]);
  return JSON.stringify(entries.sort(([a], [b]) => String(a).localeCompare(String(b))));
}

const OPTION_FIELDS = ['type', 'name', 'description', 'max_length', 'min_value', 'max_value', 'file_types'] as const;

function optionEntry(option: object): unknown[] {
  const fields = option as Record<string, unknown>;
  const choices = (fields['choices'] as { name: string; value: unknown }[] | undefined) ?? [];
  return [
    ...OPTION_FIELDS.map((name) => fields[name] ?? null),
    fields['required'] ?? false,
    fields['autocomplete'] ?? false,
    choices.map(({ name, value }) => [name, value]),
  ];
}
