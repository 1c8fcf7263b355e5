/** Looks at a Discord set-up from outside, and says what to do about what is wrong. */
import { type APIApplication, DiscordAPIError, PermissionsBitField, REST, Routes } from 'discord.js';
import type { DiscordConfig } from '../../shared/config.ts';
import { type Finding, maskSecret } from '../finding.ts';
import { INVITE_PERMISSIONS, missingPermissions } from './permissions.ts';

const PORTAL = 'https://discord.com/developers/applications';
const TIMEOUT_MS = 15_000;
/** Connections that a bot may begin in a day, below which a restart loop is likely. */
const FEW_SESSIONS = 20;

interface Checked {
  readonly rest: REST;
  readonly config: DiscordConfig;
  readonly application: Pick<APIApplication, 'id'> & { readonly interactions_endpoint_url?: string | null };
}

/** Checks token, application, connection, servers, permissions and commands, in the order in which they are needed. */
export async function checkDiscord(config: DiscordConfig): Promise<Finding[]> {
  const rest = new REST({ timeout: TIMEOUT_MS, retries: 1, ...(config.api !== undefined && { api: config.api }) });
  rest.setToken(config.token);
  const token = await checkToken(rest, config);
  if (!token.isFine) return [token];
  const application = (await rest.get(Routes.currentApplication())) as Checked['application'];
  const checked = { rest, config, application };
  return [
    token,
    checkEndpoint(checked),
    await checkSessions(checked),
    ...(await checkServers(checked)),
    await checkCommands(checked),
  ];
}

/** Where a server's owner adds the bot. */
export function inviteUrl(applicationId: string): string {
  const query = new URLSearchParams({
    client_id: applicationId,
    scope: 'bot applications.commands',
    permissions: String(INVITE_PERMISSIONS),
  });
  return `https://discord.com/oauth2/authorize?${query}`;
}

async function checkToken(rest: REST, { token }: DiscordConfig): Promise<Finding> {
  const subject = 'Discord token';
  try {
    const { username } = (await rest.get(Routes.user())) as { username: string };
    return { subject, isFine: true, text: `${maskSecret(token)} is the bot ${username}` };
  } catch (error) {
    if (error instanceof DiscordAPIError && error.status === 401) {
      const fix = `Open ${PORTAL}, choose the application, Bot, Reset Token, and set DISCORD_TOKEN to the new one`;
      return { subject, isFine: false, text: `Discord does not know ${maskSecret(token)}`, fix };
    }
    const fix = 'Let this machine reach https://discord.com and wss://gateway.discord.gg';
    return { subject, isFine: false, text: `Discord cannot be asked: ${(error as Error).message}`, fix };
  }
}

function checkEndpoint({ application }: Checked): Finding {
  const subject = 'Discord interactions';
  const url = application.interactions_endpoint_url ?? '';
  if (url === '') return { subject, isFine: true, text: 'come over the gateway' };
  const fix = `Open ${PORTAL}/${application.id}/information and empty Interactions Endpoint URL`;
  return { subject, isFine: false, text: `go to ${url} and never reach this bot`, fix };
}

async function checkSessions({ rest }: Checked): Promise<Finding> {
  const subject = 'Discord connections';
  const { session_start_limit: limit } = (await rest.get(Routes.gatewayBot())) as {
    session_start_limit: { remaining: number; total: number; reset_after: number };
  };
  const text = `${limit.remaining} of ${limit.total} are left today`;
  if (limit.remaining >= FEW_SESSIONS) return { subject, isFine: true, text };
  const hours = Math.ceil(limit.reset_after / 3_600_000);
  return { subject, isFine: false, text, fix: `Stop what starts the bot over and over, and wait ${hours} h` };
}

async function checkServers({ rest, config, application }: Checked): Promise<Finding[]> {
  const subject = 'Discord servers';
  const servers = (await rest.get(Routes.userGuilds())) as { id: string; name: string; permissions: string }[];
  const invite = `Open ${inviteUrl(application.id)} as somebody who manages the server`;
  if (servers.length === 0) return [{ subject, isFine: false, text: 'The bot is in none', fix: invite }];
  if (config.serverId !== undefined && !servers.some(({ id }) => id === config.serverId)) {
    const text = `DISCORD_SERVER_ID is ${config.serverId}, where the bot is not`;
    return [{ subject, isFine: false, text, fix: `${invite}, or leave DISCORD_SERVER_ID empty` }];
  }
  return servers.map(({ name, permissions }) => {
    const missing = missingPermissions(new PermissionsBitField(BigInt(permissions)), 'anywhere');
    if (missing.length === 0) return { subject, isFine: true, text: `${name}: all permissions are there` };
    return { subject, isFine: false, text: `${name}: ${missing.join(', ')} missing`, fix: `${invite}; it adds them` };
  });
}

async function checkCommands({ rest, config: { serverId }, application }: Checked): Promise<Finding> {
  const subject = 'Discord commands';
  const everywhere = (await rest.get(Routes.applicationCommands(application.id))) as unknown[];
  if (serverId === undefined) {
    const text = everywhere.length === 0 ? 'are written at the first start' : `${everywhere.length} are registered`;
    return { subject, isFine: true, text };
  }
  const here = (await rest.get(Routes.applicationGuildCommands(application.id, serverId))) as unknown[];
  if (everywhere.length === 0 || here.length === 0) {
    return { subject, isFine: true, text: `${here.length + everywhere.length} are registered` };
  }
  const text = 'are registered everywhere and in DISCORD_SERVER_ID, so people see each of them twice';
  return {
    subject,
    isFine: false,
    text,
    fix: 'Start the bot once more: it removes those that are registered everywhere',
  };
}
