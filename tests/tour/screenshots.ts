/** Makes the pictures of the README's tour with the real program: `npm run screenshots`. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import sharp from 'sharp';
import { POCKET_FOLDER } from '../../worker/pocket/folder.ts';
import { drawLine, openAs, openChromium, type PersonOptions } from '../support/chromium.ts';
import { type RunningPage, startPage } from '../support/running-page.ts';

const OUT = join(import.meta.dirname, '../../deploy/tour');
const EXAMPLES = join(POCKET_FOLDER, 'examples');
const LONG_MS = 300_000;

async function main(): Promise<void> {
  await mkdir(OUT, { recursive: true });
  const booth = await startPage({ model: 'pocket' });
  const browser = await openChromium();
  try {
    const { page } = await openAs(browser, booth.address, { name: 'Ada', width: 1200, height: 940 });
    page.setDefaultTimeout(LONG_MS);
    await imagine(page);
    await draw(page);
    await look(browser, booth, { file: 'dark', name: 'Bob', width: 1200, height: 940, colorScheme: 'dark' });
    await look(browser, booth, { file: 'narrow', name: 'Eve', width: 390, height: 780 });
    await teach(page);
  } finally {
    await browser.close();
    await booth.stop();
  }
}

async function imagine(page: Page): Promise<void> {
  await page.keyboard.type('/imagine a red car on a beach count:4 seed:7 ');
  await keep(page, 'command');
  await page.keyboard.press('Enter');
  await results(page, 1);
}

async function draw(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Draw a sketch' }).click();
  for (const line of HOUSE) await drawLine(page, line);
  await keep(page, 'canvas');
  await page.getByRole('button', { name: 'Use this sketch' }).click();
  await page.locator('dialog').waitFor({ state: 'detached' });
  await page.getByLabel('prompt').fill('a yellow house in the snow');
  await page.getByLabel('kind', { exact: true }).selectOption('sketch');
  await page.locator('.command-foot .primary').click();
  await results(page, 2);
  await keep(page, 'wide');
}

/** What another person sees who comes in now. */
async function look(
  browser: Browser,
  booth: RunningPage,
  { file, ...person }: PersonOptions & { file: string },
): Promise<void> {
  const { page } = await openAs(browser, booth.address, person);
  await page.waitForTimeout(1000);
  await keep(page, file);
  await page.context().close();
}

async function teach(page: Page): Promise<void> {
  const photos = ['1', '2', '3', '4'].map((name) => join(EXAMPLES, 'backpack', `${name}.png`));
  await page.getByLabel('Add pictures').setInputFiles(photos);
  await page.getByLabel('name', { exact: true }).fill('knapsi');
  await page.getByLabel('class', { exact: true }).fill('backpack');
  await page.locator('.command-foot .primary').click();
  await page
    .getByText(/is learned/)
    .last()
    .waitFor();
  await page.locator('.lesson').last().scrollIntoViewIfNeeded();
  await page.waitForTimeout(500);
  await keep(page, 'lesson');
}

/** As shares of the sheet. */
const HOUSE: readonly (readonly (readonly [number, number])[])[] = [
  [
    [0.25, 0.85],
    [0.25, 0.48],
    [0.75, 0.48],
    [0.75, 0.85],
    [0.25, 0.85],
  ],
  [
    [0.18, 0.5],
    [0.5, 0.2],
    [0.82, 0.5],
  ],
  [
    [0.44, 0.85],
    [0.44, 0.63],
    [0.56, 0.63],
    [0.56, 0.85],
  ],
  [
    [0.31, 0.56],
    [0.39, 0.56],
    [0.39, 0.66],
    [0.31, 0.66],
    [0.31, 0.56],
  ],
];

async function results(page: Page, count: number): Promise<void> {
  await page
    .locator('.message.is-bot:has(.gallery:not(.is-preview))')
    .nth(count - 1)
    .waitFor();
  await page.waitForTimeout(800);
}

async function keep(page: Page, name: string): Promise<void> {
  const png = await page.screenshot();
  await writeFile(join(OUT, `${name}.png`), await sharp(png).png({ palette: true, quality: 90, effort: 8 }).toBuffer());
}

await main();
