import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkSlack } from '../../../bot/slack/doctor.ts';
import { BOT_SCOPES, slackManifest } from '../../../bot/slack/manifest.ts';
import { COMMANDS } from '../../../commands/index.ts';
import { slackConfig } from '../../support/slack-bot.ts';
import { METHOD_SCOPES } from '../../support/slack-peer/methods.ts';
import { SlackPeer } from '../../support/slack-peer/peer.ts';

let peer: SlackPeer;
beforeEach(async () => {
  peer = await SlackPeer.start();
});
afterEach(() => peer.stop());

test('shipped manifest is the one of these commands, within the limits of Slack', async () => {
  const shipped = JSON.parse(await readFile('deploy/slack-manifest.json', 'utf8'));
  expect(shipped).toEqual(slackManifest(COMMANDS));
  // Slack's manifest reference: at most 50 commands, usage hints of 1000, command names of 32, shortcut names of 24.
  for (const { command, description } of shipped.features.slash_commands) {
    expect(command).toMatch(/^\/[a-z0-9_-]{1,31}$/);
    expect(description.length).toBeLessThanOrEqual(2000);
  }
  for (const { name, description } of shipped.features.shortcuts) {
    expect(name.length).toBeLessThanOrEqual(24);
    expect(description.length).toBeLessThanOrEqual(150);
  }
});

test('manifest asks for every scope that a method needs', () => {
  expect(BOT_SCOPES).toEqual(expect.arrayContaining(Object.values(METHOD_SCOPES)));
});

test('good set-up is fine and shows no secret', async () => {
  peer.scopes = new Set(BOT_SCOPES);
  const findings = await checkSlack(slackConfig(peer));
  expect(findings.map(({ isFine }) => isFine)).toEqual([true, true, true]);
  expect(JSON.stringify(findings)).not.toContain('xoxb-test-token');
});

test('missing scope, wrong bot token, wrong app token and an unreachable Slack each have their cure', async () => {
  const problems = async (changes: Parameters<typeof slackConfig>[1]) => {
    const findings = await checkSlack(slackConfig(peer, changes));
    return findings.filter(({ isFine }) => !isFine).map(({ subject, text, fix }) => `${subject}: ${text}; ${fix}`);
  };
  peer.scopes = new Set(BOT_SCOPES.filter((scope) => scope !== 'reactions:read'));
  expect(await problems({})).toEqual([expect.stringMatching(/missing: reactions:read; .*Reinstall/)]);
  expect(await problems({ botToken: 'xoxb-wrong-wrong-wrong' })).toEqual([
    expect.stringMatching(/invalid_auth; .*OAuth/),
  ]);
  peer.scopes = new Set(BOT_SCOPES);
  expect(await problems({ appToken: 'xapp-wrong-wrong-wrong' })).toEqual([expect.stringMatching(/connections:write/)]);
  expect(await problems({ api: 'http://127.0.0.1:9/api/' })).toEqual([expect.stringMatching(/Let this machine reach/)]);
});
