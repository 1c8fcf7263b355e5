/** What Slack must know of the app: the one source of deploy/slack-manifest.json. */
import type { Command } from '../../commands/command.ts';
import { slackCommandName } from './command-names.ts';
import { SHORTCUTS } from './listeners.ts';

/** What the app may do; each is used by some part of bot/slack. */
export const BOT_SCOPES = [
  // Slash commands and the menu of messages.
  'commands',
  // Answers, progress and results.
  'chat:write',
  // Sketches and photos that people attach.
  'files:read',
  // Pictures.
  'files:write',
  // Pictures for one person alone.
  'im:write',
  // Mentions and direct messages with pictures.
  'app_mentions:read',
  'im:history',
  // A result that was posted before a crash is looked for, instead of posted again.
  'channels:history',
  'groups:history',
  'mpim:history',
  // A reaction makes variants.
  'reactions:read',
  // Names, and who administers the workspace.
  'users:read',
] as const;

const EVENTS = ['app_mention', 'message.im', 'reaction_added'];
const MAX_HINT = 100;

/** @see https://docs.slack.dev/reference/app-manifest */
export function slackManifest(commands: readonly Command[]): object {
  return {
    display_information: {
      name: 'Sketchbooth',
      description: 'Pictures from words, sketches and taught subjects',
      background_color: '#23395b',
    },
    features: {
      app_home: { messages_tab_enabled: true, messages_tab_read_only_enabled: false },
      bot_user: { display_name: 'Sketchbooth', always_online: true },
      shortcuts: Object.entries(SHORTCUTS).map(([callback_id, command]) => ({
        name: command === 'teach' ? 'Teach from these' : 'Use as control',
        type: 'message',
        callback_id,
        description: commands.find(({ name }) => name === command)!.description,
      })),
      slash_commands: commands.map((command) => ({
        command: slackCommandName(command.name),
        description: command.description,
        usage_hint: usageHint(command),
        should_escape: false,
      })),
    },
    oauth_config: { scopes: { bot: [...BOT_SCOPES] } },
    settings: {
      event_subscriptions: { bot_events: EVENTS },
      interactivity: { is_enabled: true },
      org_deploy_enabled: false,
      socket_mode_enabled: true,
      token_rotation_enabled: false,
    },
  };
}

function usageHint({ options }: Command): string {
  const words = options
    .filter(({ type }) => type !== 'image')
    .map(({ name, isRequired }) => (isRequired ? name : `[--${name}]`));
  const hint = words.join(' ');
  return hint.length <= MAX_HINT ? hint : `${hint.slice(0, hint.lastIndexOf(' ', MAX_HINT - 2))} …`;
}
