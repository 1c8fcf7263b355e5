/** Looks at a Slack set-up from outside, and says what to do about what is wrong. */
import { WebClient } from '@slack/web-api';
import type { SlackConfig } from '../../shared/config.ts';
import { type Finding, maskSecret } from '../finding.ts';
import { slackError } from './api-errors.ts';
import { BOT_SCOPES } from './manifest.ts';

const APPS = 'https://api.slack.com/apps';
const TIMEOUT_MS = 15_000;

/** Checks tokens, scopes and the way in, in the order in which they are needed. */
export async function checkSlack(config: SlackConfig): Promise<Finding[]> {
  const token = await checkToken(config);
  return token.scopes === undefined
    ? [token.finding]
    : [token.finding, checkScopes(token.scopes), await checkWayIn(config)];
}

function clientFor(token: string, { api }: SlackConfig): WebClient {
  return new WebClient(token, {
    timeout: TIMEOUT_MS,
    retryConfig: { retries: 0 },
    ...(api !== undefined && { slackApiUrl: api }),
  });
}

async function checkToken(config: SlackConfig): Promise<{ finding: Finding; scopes?: readonly string[] }> {
  const subject = 'Slack bot token';
  const shown = maskSecret(config.botToken);
  try {
    const { user, team, response_metadata } = await clientFor(config.botToken, config).auth.test();
    const scopes = response_metadata?.scopes ?? [];
    return { finding: { subject, isFine: true, text: `${shown} is ${user} in ${team}` }, scopes };
  } catch (error) {
    const code = slackError(error);
    const fix =
      code === undefined
        ? 'Let this machine reach https://slack.com and wss://wss-primary.slack.com'
        : `Open ${APPS}, choose the app, OAuth & Permissions, and set SLACK_BOT_TOKEN to the Bot User OAuth Token (xoxb-…)`;
    const text = code === undefined ? `Slack cannot be asked: ${(error as Error).message}` : `${shown}: ${code}`;
    return { finding: { subject, isFine: false, text, fix } };
  }
}

function checkScopes(granted: readonly string[]): Finding {
  const subject = 'Slack scopes';
  const missing = BOT_SCOPES.filter((scope) => !granted.includes(scope));
  if (missing.length === 0) return { subject, isFine: true, text: `all ${BOT_SCOPES.length} are granted` };
  const fix = `Open ${APPS}, choose the app, App Manifest, put in deploy/slack-manifest.json, then Install App, Reinstall`;
  return { subject, isFine: false, text: `missing: ${missing.join(', ')}`, fix };
}

/** Without an app token deliveries come by HTTP, which only Slack itself can try. */
async function checkWayIn(config: SlackConfig): Promise<Finding> {
  const { appToken, port } = config;
  if (appToken === undefined) {
    const text = `deliveries are awaited on port ${port} at /slack/events; Slack must reach it by https`;
    return { subject: 'Slack deliveries', isFine: true, text };
  }
  const subject = 'Slack app token';
  try {
    await clientFor(appToken, config).apps.connections.open();
    return { subject, isFine: true, text: `${maskSecret(appToken)} opens connections` };
  } catch (error) {
    const fix = `Open ${APPS}, choose the app, Basic Information, App-Level Tokens, make one with connections:write, and set SLACK_APP_TOKEN to it (xapp-…)`;
    const text = `${maskSecret(appToken)}: ${slackError(error) ?? (error as Error).message}`;
    return { subject, isFine: false, text, fix };
  }
}
