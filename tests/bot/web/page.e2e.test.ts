import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, Locator, Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';
import { drawLine, openAs, openChromium } from '../../support/chromium.ts';
import { type RunningPage, startPage } from '../../support/running-page.ts';

const EXAMPLES = join(POCKET_FOLDER, 'examples');
/** Steps of a picture that nobody judges by its looks. */
const FEW = 'steps:3';
/** Of a lesson on a machine that does other things beside. */
const LONG_MS = 300_000;

let booth: RunningPage;
let browser: Browser;
let page: Page;
let complaints: string[];

beforeAll(async () => {
  booth = await startPage();
  browser = await openChromium();
  ({ page, complaints } = await openAs(browser, booth.address, { name: 'Ada' }));
  page.setDefaultTimeout(20_000);
});
afterEach(async () => {
  // A test that failed may have left its command open.
  const leave = page.getByRole('button', { name: 'Leave the command' });
  if (await leave.count()) await leave.click();
});
afterAll(async () => {
  await browser.close();
  await booth.stop();
});

const results = (within: Page = page) =>
  within.locator('.message.is-bot', { has: within.locator('.gallery:not(.is-preview)') });
const newest = (messages: Locator) => messages.last();

/** Types a command as a person does, and sends it. */
async function type(text: string, within: Page = page): Promise<void> {
  await within.getByRole('combobox', { name: 'Message or command' }).fill('');
  await within.getByRole('combobox', { name: 'Message or command' }).pressSequentially(text);
  await within.keyboard.press('Enter');
  await within.locator('.plain-form').waitFor();
}

/** Waits for one more result than there were. */
async function nextResult(before: number): Promise<Locator> {
  await expect.poll(() => results().count(), { timeout: LONG_MS, interval: 100 }).toBe(before + 1);
  return newest(results());
}

async function pixels(image: Locator) {
  const path = await image.getAttribute('src');
  const response = await page.request.get(`${booth.address}${path}`);
  expect(response.headers()['content-type']).toMatch(/^image\//);
  return sharp(await response.body())
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
}

async function isShown(text: RegExp | string): Promise<void> {
  await page.getByText(text).last().waitFor({ timeout: LONG_MS });
}

test('a typed command becomes pictures, with progress on the way and alt text', async () => {
  await type(`/imagine a red car on a beach count:2 seed:7 ${FEW} `);
  const result = await nextResult(0);
  const images = result.locator('.gallery img');
  expect(await images.count()).toBe(2);
  expect(await images.first().getAttribute('alt')).toContain('a red car on a beach');
  const { data, info } = await pixels(images.first());
  expect([info.channels, new Set(data).size > 50]).toEqual([3, true]);
  await isShown(/^Done, /);
});

test('a sketch drawn on the canvas arrives black on white and becomes a picture', async () => {
  const before = await results().count();
  await page.getByRole('button', { name: 'Draw a sketch' }).click();
  await drawLine(page, [
    [0.1, 0.7],
    [0.3, 0.7],
    [0.35, 0.5],
    [0.65, 0.5],
    [0.7, 0.7],
    [0.9, 0.7],
  ]);
  await drawLine(page, [
    [0.2, 0.2],
    [0.4, 0.2],
  ]);
  await page.keyboard.press('Control+z');
  await page.getByRole('button', { name: 'Use this sketch' }).click();
  await page.locator('dialog').waitFor({ state: 'detached' });
  await page.getByLabel('prompt').fill('a red car');
  await page.getByLabel('kind', { exact: true }).selectOption('sketch');
  await page.getByRole('button', { name: 'steps' }).click();
  await page.getByLabel('steps', { exact: true }).fill('3');
  await page.locator('.command-foot .primary').click();
  const result = await nextResult(before);
  const sent = page.locator('.said-pictures img').last();
  const { data, info } = await pixels(sent);
  const isDark = (x: number, y: number) =>
    (data[(Math.round(y * info.height) * info.width + Math.round(x * info.width)) * info.channels] ?? 255) < 128;
  expect([isDark(0.5, 0.5), isDark(0.2, 0.7), isDark(0.5, 0.9), isDark(0.3, 0.2)]).toEqual([true, true, false, false]);
  expect(await result.textContent()).toMatch(/sketch 1.*line drawing/);
  const map = result.getByRole('button', { name: 'Enlarge: The sketch map that was followed' }).locator('img');
  const followed = await pixels(map);
  // Turned to white on black, as ControlNets learned it.
  expect(followed.data.reduce((sum, value) => sum + value, 0) / followed.data.length).toBeLessThan(64);
});

test('two maps steer one picture together', async () => {
  const before = await results().count();
  await page
    .getByLabel('Add pictures')
    .setInputFiles([join(EXAMPLES, 'car-sketch.png'), join(EXAMPLES, 'teapot-depth.png')]);
  await page.getByLabel('prompt').fill(`a teapot in a car ${FEW} `);
  await page.getByLabel('kind', { exact: true }).first().selectOption('sketch');
  await page.getByLabel('kind', { exact: true }).last().selectOption('depth');
  await page.getByLabel('strength', { exact: true }).last().fill('0.5');
  await page.locator('.command-foot .primary').click();
  const text = await (await nextResult(before)).textContent();
  expect(text).toMatch(/sketch 1/);
  expect(text).toMatch(/depth 0.5/);
});

test('a reaction makes variants, and the other person sees them', async () => {
  const before = await results().count();
  const bob = await openAs(browser, booth.address, { name: 'Bob', width: 900 });
  const original = await results().first().locator('.gallery img').first().getAttribute('src');
  const target = results(bob.page).first();
  await target.hover();
  await target.getByRole('button', { name: 'React: Variants' }).click();
  const result = await nextResult(before);
  expect(await result.locator('.gallery img').first().getAttribute('src')).not.toBe(original);
  expect(await result.locator('.mentions').textContent()).toBe('@Bob');
  expect(await results().first().locator('.reactions button').getAttribute('title')).toBe('Bob');
  await expect.poll(() => results(bob.page).count()).toBe(before + 1);
  expect(bob.complaints).toEqual([]);
  await bob.page.context().close();
});

test('a result is edited in a form that has everything filled in', async () => {
  const before = await results().count();
  await results().first().getByRole('button', { name: 'Edit', exact: true }).click();
  expect(await page.getByLabel('prompt').inputValue()).toBe('a red car on a beach');
  expect(await page.getByLabel('seed', { exact: true }).inputValue()).toBe('7');
  await page.getByLabel('prompt').fill('a blue car on a beach');
  await page.locator('.command-foot .primary').click();
  expect(await (await nextResult(before)).textContent()).toContain('a blue car on a beach');
});

async function teach(name: string, steps: number): Promise<void> {
  const photos = ['1', '2', '3', '4'].map((file) => join(EXAMPLES, 'backpack', `${file}.png`));
  await page.getByLabel('Add pictures').setInputFiles(photos);
  await page.getByLabel('name', { exact: true }).fill(name);
  await page.getByLabel('class', { exact: true }).fill('backpack');
  await page.getByRole('button', { name: 'steps' }).click();
  await page.getByLabel('steps', { exact: true }).fill(String(steps));
  await page.locator('.command-foot .primary').click();
}

test('four photos become a concept, and the concept appears in a picture', { timeout: 2 * LONG_MS }, async () => {
  const before = await results().count();
  await teach('Knapsi', 2);
  await isShown(/Knapsi is learned/);
  expect(await page.locator('.lesson .strip img').count()).toBeGreaterThan(0);
  await type(`/imagine a knapsi on a beach ${FEW} `);
  const result = await nextResult(before);
  await result.getByRole('button', { name: 'Details' }).click();
  await isShown(/concept Knapsi/);
});

test('a lesson ends where it is stopped, or with the sample that is pressed', { timeout: 2 * LONG_MS }, async () => {
  await teach('Stopsi', 2000);
  await isShown(/^Learning, [1-9]\d* of 2000/);
  await page.getByRole('button', { name: 'Stop here' }).click();
  await isShown(/Stopped at step \d+ of 2000/);
  await teach('Picksi', 2000);
  await isShown(/^Learning, [1-9]\d* of 2000/);
  const first = page.locator('.strip li', { hasText: 'step 0' }).last();
  await first.getByRole('button', { name: 'Use this one' }).click();
  await isShown(/The sample of step 0 was chosen at step \d+ of 2000/);
  expect(await page.getByRole('button', { name: 'Use this one' }).count()).toBe(0);
});

test('a running job is cancelled by its button', async () => {
  const before = await results().count();
  await type('/imagine a long way steps:50 count:4 ');
  await page.locator('.bar').last().waitFor();
  await page.getByRole('button', { name: 'Cancel' }).last().click();
  await isShown(/^Cancelled$/);
  expect(await results().count()).toBe(before);
});

test('a restart in the middle of a picture loses nothing and posts once', async () => {
  const before = await results().count();
  await type('/imagine a lighthouse steps:40 count:2 ');
  await page.locator('.bar').last().waitFor();
  await booth.restart();
  const result = await nextResult(before);
  expect(await result.textContent()).toContain('a lighthouse');
  await page.reload();
  await expect.poll(() => results().count()).toBe(before + 1);
});

test('files that are no pictures are refused where they were dropped, and the command waits', async () => {
  const folder = join(booth.dataDir, 'uploads');
  await mkdir(folder);
  const bad = { 'drawing.png': '<svg xmlns="http://www.w3.org/2000/svg"/>', 'empty.png': '' };
  for (const [name, text] of Object.entries(bad)) await writeFile(join(folder, name), text);
  const whole = await readFile(join(EXAMPLES, 'car-sketch.png'));
  await writeFile(join(folder, 'half.png'), whole.subarray(0, whole.length / 2));
  for (const [name, reason] of [
    ['drawing.png', /SVG/],
    ['empty.png', /empty file/],
    ['half.png', /cut off or damaged/],
  ] as const) {
    await page.getByLabel('Add pictures').setInputFiles(join(folder, name));
    await page.getByRole('alert').getByText(reason).first().waitFor();
    await page.getByLabel('prompt').fill('a car');
    await page.keyboard.press('Enter');
    await page.locator('.command-form > .problem').getByText(reason).waitFor();
    await page.getByRole('button', { name: 'Leave the command' }).click();
  }
});

test('a refused command keeps what was typed, with the reason', async () => {
  const input = page.getByRole('combobox', { name: 'Message or command' });
  await input.pressSequentially('/imagine a car steps:500 ');
  await page.keyboard.press('Enter');
  await page
    .locator('.command-form > .problem')
    .getByText(/steps must be a whole number from 1 to 150/)
    .waitFor();
  expect(await page.getByLabel('prompt').inputValue()).toBe('a car');
  await page.keyboard.press('Escape');
});

test('the page fits a phone, and nothing on it ever complained', async () => {
  await page.setViewportSize({ width: 360, height: 720 });
  await page.getByRole('button', { name: 'Commands' }).click();
  await page.getByRole('option', { name: /sketch/ }).click();
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360);
  expect(complaints).toEqual([]);
});
