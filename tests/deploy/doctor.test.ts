import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../shared/embedded-postgres.ts';
import { saveTinyPipeline } from '../support/tiny-folder.ts';

let dataDir: string;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'sketchbooth-doctor-'));
  await saveTinyPipeline(join(dataDir, 'models', 'tiny'));
});
afterEach(() => rm(dataDir, { recursive: true }));

function doctor(environment: Readonly<Record<string, string>> = {}): Promise<{ code: number; said: string }> {
  const env = { DATA_DIR: dataDir, DEFAULT_MODEL: 'tiny', DEVICE: 'cpu', WEB_PORT: '0' };
  return new Promise((resolve) => {
    const args = ['--import', 'tsx', 'deploy/doctor/doctor.ts'];
    execFile(process.execPath, args, { env: { ...env, ...environment } }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, said: `${stdout}${stderr}` });
    });
  });
}

test('doctor finds a fresh machine fine', async () => {
  const { code, said } = await doctor();
  expect(said).not.toMatch(/^BAD/m);
  for (const subject of ['Node.js', 'Data folder', 'Tables', 'Queue', 'Pictures and weights', 'Device', 'Model']) {
    expect(said).toContain(`ok   ${subject}: `);
  }
  expect(code).toBe(0);
});

test('doctor names each thing that is wrong with its cure, and no secret', async () => {
  const { code, said } = await doctor({
    DEFAULT_MODEL: 'stable-diffusion-v9',
    DATABASE_URL: 'postgres://art:hidden-word@127.0.0.1:9/art',
    S3_ENDPOINT: 'http://127.0.0.1:9',
    S3_BUCKET: 'art',
    S3_ACCESS_KEY_ID: 'key',
    S3_SECRET_ACCESS_KEY: 'hidden-word',
    DISCORD_TOKEN: 'MTIzNDU2Nzg5.hidden-word-in-the-middle.abcd',
    DISCORD_API: 'http://127.0.0.1:9/api',
  });
  expect(code).toBe(1);
  for (const subject of ['Tables', 'Pictures and weights', 'Model', 'Discord token']) {
    expect(said).toMatch(new RegExp(`^BAD  ${subject}: .+\n     -> .+`, 'm'));
  }
  expect(said).not.toContain('hidden-word');
});

test('doctor leaves the tables of a running program alone', async () => {
  const embedded = await EmbeddedPostgres.open(dataDir);
  const { code, said } = await doctor();
  await embedded.end();
  expect(said).toContain('open in a running Sketchbooth');
  expect(code).toBe(0);
});

test('doctor names a bad variable', async () => {
  const { code, said } = await doctor({ WEB_HOST: '0.0.0.0' });
  expect(code).toBe(1);
  expect(said).toContain('WEB_PASSWORD: needed with WEB_HOST 0.0.0.0');
});
