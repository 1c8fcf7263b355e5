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
  /** Whether the screen is touched. */
  readonly isTouch?: boolean;
}

/** A person's own browser window, signed in; what its console complains of is gathered. */
export async function openAs(
  browser: Browser,
  address: string,
  { name, width = 1200, height = 820, colorScheme = 'light', isTouch = false }: PersonOptions,
): Promise<{ page: Page; complaints: string[] }> {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, hasTouch: isTouch });
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

type Point = readonly [number, number];

async function onSheet(page: Page, points: readonly Point[]): Promise<Point[]> {
  const box = await page.locator('dialog canvas').boundingBox();
  if (!box) throw new Error('There is no sheet to draw on');
  return points.map(([x, y]) => [box.x + x * box.width, box.y + y * box.height]);
}

const TOUCH_STEPS = 6;
const TOUCH_PAUSE_MS = 16;
const TOUCH_REST_MS = 200;

function between([x0, y0]: Point, [x1, y1]: Point, share: number): Point {
  return [x0 + (x1 - x0) * share, y0 + (y1 - y0) * share];
}

/** Draws a line with a finger through points given as shares of the sheet. */
export async function touchLine(page: Page, points: readonly Point[]): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', at: readonly Point[]) =>
    session.send('Input.dispatchTouchEvent', { type, touchPoints: at.map(([x, y]) => ({ x, y })) });
  const [first, ...rest] = await onSheet(page, points);
  if (!first) return;
  await touch('touchStart', [first]);
  let last = first;
  for (const point of rest) {
    for (let step = 1; step <= TOUCH_STEPS; step++) {
      await page.waitForTimeout(TOUCH_PAUSE_MS);
      await touch('touchMove', [between(last, point, step / TOUCH_STEPS)]);
    }
    last = point;
  }
  // A finger that lifts while it moves flings, and the tap after it would only stop that.
  await page.waitForTimeout(TOUCH_REST_MS);
  await touch('touchEnd', []);
  await session.detach();
}

/** Draws a line through points given as shares of the sheet. */
export async function drawLine(page: Page, points: readonly Point[]): Promise<void> {
  const [first, ...rest] = await onSheet(page, points);
  if (!first) return;
  await page.mouse.move(...first);
  await page.mouse.down();
  for (const point of rest) await page.mouse.move(...point, { steps: 6 });
  await page.mouse.up();
}
