import { type Browser, chromium, type Page } from 'playwright-core';

const PATH = '/usr/bin/chromium';
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Debian's Chromium without a screen: `apt-get install chromium`. */
export function openChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: PATH, args: ARGUMENTS });
}

export interface PersonOptions {
  readonly name: string;
  readonly width?: number;
  readonly height?: number;
  readonly colorScheme?: 'light' | 'dark';
}

/** A person's own browser window, signed in; what its console complains of is gathered. */
export async function openAs(
  browser: Browser,
  address: string,
  { name, width = 1200, height = 820, colorScheme = 'light' }: PersonOptions,
): Promise<{ page: Page; complaints: string[] }> {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  // A page that has no session yet, and a program that is restarted, are answered with errors by design.
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complaints.push(message.text());
  });
  await page.goto(address);
  await page.getByLabel('Your name').fill(name);
  await page.keyboard.press('Enter');
  await page.getByRole('combobox', { name: 'Message or command' }).waitFor();
  return { page, complaints };
}

/** Draws a line through points given as shares of the sheet. */
export async function drawLine(page: Page, points: readonly (readonly [number, number])[]): Promise<void> {
  const box = await page.locator('dialog canvas').boundingBox();
  if (!box) throw new Error('There is no sheet to draw on');
  const at = ([x, y]: readonly [number, number]) => [box.x + x * box.width, box.y + y * box.height] as const;
  const [first, ...rest] = points;
  if (!first) return;
  await page.mouse.move(...at(first));
  await page.mouse.down();
  for (const point of rest) await page.mouse.move(...at(point), { steps: 6 });
  await page.mouse.up();
}
