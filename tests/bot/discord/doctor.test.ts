import { PermissionFlagsBits } from 'discord.js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkDiscord } from '../../../bot/discord/doctor.ts';
import type { Finding } from '../../../bot/finding.ts';
import type { DiscordConfig } from '../../../shared/config.ts';
import { type DiscordPeer, startDiscordPeer } from '../../support/discord-peer/peer.ts';

let peer: DiscordPeer;
beforeEach(async () => {
  peer = await startDiscordPeer();
});
afterEach(() => peer.close());

const check = (config: Partial<DiscordConfig> = {}) =>
  checkDiscord({ token: peer.token, api: peer.api, serverId: undefined, ...config });
const problems = (findings: readonly Finding[]) => findings.filter(({ isFine }) => !isFine);

test('everything is fine on a good set-up, and the token is masked', async () => {
  const findings = await check();
  expect(problems(findings)).toEqual([]);
  expect(findings.map(({ subject }) => subject)).toEqual([
    'Discord token',
    'Discord interactions',
    'Discord connections',
    'Discord servers',
    'Discord commands',
  ]);
  expect(JSON.stringify(findings)).not.toContain(peer.token.slice(4, -4));
});

test('wrong token is told without showing it', async () => {
  const token = peer.token.replace('peer', 'pear');
  const [finding] = await check({ token });
  expect(finding).toMatchObject({ isFine: false, fix: expect.stringContaining('Reset Token') });
  expect(JSON.stringify(finding)).not.toContain(token);
});

test('Discord that cannot be reached is told', async () => {
  const [finding] = await check({ api: 'http://127.0.0.1:9/api' });
  expect(finding).toMatchObject({ isFine: false, fix: expect.stringContaining('reach') });
});

test('interactions that go elsewhere are told', async () => {
  peer.world.interactionsEndpoint = 'https://elsewhere.example/interactions';
  expect(problems(await check())).toMatchObject([
    { subject: 'Discord interactions', fix: expect.stringContaining('Interactions Endpoint URL') },
  ]);
});

test('missing permission is named, with an invitation that adds it', async () => {
  const [everyone] = peer.world.guild.roles;
  everyone!.permissions = String(BigInt(everyone!.permissions) & ~PermissionFlagsBits.AttachFiles);
  const [finding] = problems(await check());
  expect(finding).toMatchObject({ subject: 'Discord servers', text: 'Studio: Attach Files missing' });
  const invited = BigInt(
    new URL(/https:\S+/.exec(finding!.fix!)![0].replace(/;$/, '')).searchParams.get('permissions')!,
  );
  expect(invited & PermissionFlagsBits.AttachFiles).toBe(PermissionFlagsBits.AttachFiles);
});

test('server that the bot is not in is told', async () => {
  expect(problems(await check({ serverId: '42' }))).toMatchObject([{ fix: expect.stringContaining('authorize') }]);
});
