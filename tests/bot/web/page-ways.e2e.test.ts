import type { Browser, Locator, Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { faintTexts, namelessControls } from '../../support/accessibility.ts';
import { drawLine, openAs, openChromium, touchLine } from '../../support/chromium.ts';
import { enterPage } from '../../support/page-visitor.ts';
import { type RunningPage, startPage } from '../../support/running-page.ts';

const LONG_MS = 120_000;
const SMALL = 'size:64x64 steps:2';

let booth: RunningPage;
let browser: Browser;

beforeAll(async () => {
  booth = await startPage({ model: 'tiny' });
  browser = await openChromium();
});
afterAll(async () => {
  await browser.close();
  await booth.stop();
});

const results = (page: Page) => page.locator('.message.is-bot', { has: page.locator('.gallery:not(.is-preview)') });

async function open(name: string, more: Partial<Parameters<typeof openAs>[2]> = {}): Promise<Page> {
  const { page } = await openAs(browser, booth.address, { name, ...more });
  page.setDefaultTimeout(20_000);
  return page;
}

/** What is used of the page's own objects; tests are typed without a browser. */
interface PageImage {
  readonly complete: boolean;
  readonly naturalWidth: number;
  readonly naturalHeight: number;
  readonly ownerDocument: { createElement(name: 'canvas'): PageCanvas };
}
interface PageCanvas {
  getContext(kind: '2d'): { drawImage(image: PageImage, x: number, y: number): void };
  toDataURL(): string;
}
interface PageList {
  scrollTop: number;
  readonly scrollHeight: number;
  readonly clientHeight: number;
}

/** Whether places of a picture, as shares of its sides, are dark. */
async function darkAt(image: Locator, places: readonly (readonly [number, number])[]): Promise<boolean[]> {
  await expect.poll(() => image.evaluate((img: PageImage) => img.complete && img.naturalWidth > 0)).toBe(true);
  const url = await image.evaluate((img: PageImage) => {
    const canvas = Object.assign(img.ownerDocument.createElement('canvas'), {
      width: img.naturalWidth,
      height: img.naturalHeight,
    });
    canvas.getContext('2d').drawImage(img, 0, 0);
    return canvas.toDataURL();
  });
  const base64 = url.split(',')[1] ?? '';
  const { data, info } = await sharp(Buffer.from(base64, 'base64'))
    .greyscale()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return places.map(([x, y]) => {
    const at = Math.round(y * info.height) * info.width + Math.round(x * info.width);
    return (data[at * info.channels] ?? 255) < 128;
  });
}

test(
  'everything that can be used has a name, wherever one is on the page',
  async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(booth.address);
    await page.getByLabel('Your name').waitFor();
    const seen: Record<string, { nameless: string[]; count: number }> = {};
    const look = async (where: string) => {
      seen[where] = await namelessControls(page);
    };
    await look('sign in');
    await page.getByLabel('Your name').fill('Eve');
    await page.keyboard.press('Enter');
    await page.getByRole('combobox', { name: 'Message or command' }).waitFor();
    await look('beginning');
    await page.keyboard.type('/');
    await page.getByRole('option').first().waitFor();
    await look('menu');
    for (const name of ['sketch', 'teach', 'settings', 'concepts']) {
      await page.getByRole('combobox', { name: 'Message or command' }).fill(`/${name} `);
      await page.getByRole('button', { name: 'Leave the command' }).waitFor();
      for (const chip of await page.locator('.command-form .chips .chip').all())
        await chip.click({ timeout: 500 }).catch(() => undefined);
      await look(name);
      await page.getByRole('button', { name: 'Leave the command' }).click();
    }
    await page.getByRole('button', { name: 'Draw a sketch' }).click();
    await look('sheet');
    await page.getByRole('button', { name: 'Leave', exact: true }).click();
    await page.getByRole('button', { name: 'Leave the command' }).click();
    await page.getByRole('combobox', { name: 'Message or command' }).fill(`/imagine a car ${SMALL} count:2 `);
    await page.locator('.command-foot .primary').click();
    await expect.poll(() => results(page).count(), { timeout: LONG_MS }).toBe(1);
    await look('result');
    await results(page).first().locator('.gallery img').first().click();
    await page.locator('dialog').waitFor();
    await look('enlarged');
    await context.close();
    expect(Object.entries(seen).filter(([, { nameless }]) => nameless.length > 0)).toEqual([]);
    expect(Object.values(seen).every(({ count }) => count > 1)).toBe(true);
  },
  2 * LONG_MS,
);

test(
  'a person without a mouse draws, looks at, and goes on from a picture',
  async () => {
    const page = await open('Kay');
    const before = await results(page).count();
    await page.keyboard.type('/im');
    await page.keyboard.press('Tab');
    await page.keyboard.type(`a blue car ${SMALL}`);
    await page.keyboard.press('Enter');
    await expect.poll(() => results(page).count(), { timeout: LONG_MS }).toBe(before + 1);
    const walkTo = async (name: string) => {
      for (let i = 0; i < 80; i++) {
        await page.keyboard.press('Shift+Tab');
        const label = await page.evaluate(
          `(document.activeElement.ariaLabel ?? '') + ' ' + document.activeElement.textContent.trim()`,
        );
        if (String(label).includes(name)) return;
      }
      throw new Error(`The keyboard does not reach ${name}`);
    };
    await page.locator('.plain-form').waitFor();
    await walkTo('React: Variants');
    await expect
      .poll(() => page.evaluate(`getComputedStyle(document.activeElement.closest('.react-bar')).opacity`))
      .toBe('1');
    await walkTo('Enlarge picture 1 of 1');
    await page.keyboard.press('Enter');
    await page.locator('dialog').waitFor();
    await page.keyboard.press('Escape');
    await page.locator('dialog').waitFor({ state: 'detached' });
    expect(await page.evaluate('document.activeElement.ariaLabel')).toMatch(/^Enlarge picture/);
    for (let i = 0; i < 20; i++) {
      await page.keyboard.press('Tab');
      if ((await page.evaluate('document.activeElement.textContent')) === 'Variants') break;
    }
    await page.keyboard.press('Enter');
    await expect.poll(() => results(page).count(), { timeout: LONG_MS }).toBe(before + 2);
    await page.context().close();
  },
  2 * LONG_MS,
);

test('a list of a form is sent with Enter as every other field is', async () => {
  const page = await open('Lee');
  await page.keyboard.type('/help ');
  await page.getByLabel('command', { exact: true }).selectOption('sketch');
  await page.keyboard.press('Enter');
  await page.getByText('Start and end of its steering').last().waitFor();
  await page.context().close();
});

test('a finger draws on a phone, and the page does not move under it', async () => {
  const page = await open('Finn', { width: 390, height: 780, isTouch: true });
  await page.getByRole('button', { name: 'Draw a sketch' }).tap();
  await touchLine(page, [
    [0.2, 0.5],
    [0.8, 0.5],
  ]);
  await page.getByRole('button', { name: 'Use this sketch' }).tap();
  await page.locator('dialog').waitFor({ state: 'detached' });
  const sketch = page.locator('.thumbnail img');
  expect(
    await darkAt(sketch, [
      [0.5, 0.5],
      [0.25, 0.5],
      [0.5, 0.3],
    ]),
  ).toEqual([true, true, false]);
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
  await page.context().close();
});

test('a dropped picture is traced, and only the lines are sent', async () => {
  const page = await open('Tess');
  const photo = await sharp({ create: { width: 64, height: 64, channels: 3, background: 'black' } })
    .png()
    .toBuffer();
  const data = await page.evaluateHandle(`(() => {
    const data = new DataTransfer();
    const bytes = Uint8Array.from(atob('${photo.toString('base64')}'), (sign) => sign.charCodeAt(0));
    data.items.add(new File([bytes], 'photo.png', { type: 'image/png' }));
    return data;
  })()`);
  await page.dispatchEvent('.booth', 'drop', { dataTransfer: data });
  const thumbnail = page.locator('.thumbnail:not(.is-travelling) img');
  await thumbnail.waitFor();
  expect(await darkAt(thumbnail, [[0.5, 0.2]])).toEqual([true]);
  await page.getByRole('button', { name: 'Draw on photo.png' }).click();
  await page.locator('.paper .trace').waitFor();
  await drawLine(page, [
    [0.2, 0.5],
    [0.8, 0.5],
  ]);
  await page.getByRole('button', { name: 'Use this sketch' }).click();
  await page.locator('dialog').waitFor({ state: 'detached' });
  await expect.poll(() => thumbnail.count()).toBe(1);
  expect(
    await darkAt(thumbnail, [
      [0.5, 0.5],
      [0.5, 0.2],
    ]),
  ).toEqual([true, false]);
  await page.context().close();
});

test('a long channel is read back to its beginning, and what is in view stays there', async () => {
  const cleo = await enterPage(booth.address, { name: 'Cleo' });
  await cleo.send('POST', '/api/channels', { name: 'long' });
  for (let i = 1; i <= 100; i++) {
    const answer = await cleo.send('POST', '/api/channels/long/messages', {
      id: `line-number-${i}`,
      text: `line ${i}`,
    });
    expect(answer.status).toBe(200);
  }
  const page = await open('Max');
  await page.getByRole('button', { name: 'long' }).click();
  await page.getByText('line 100', { exact: true }).waitFor();
  const list = page.getByRole('log');
  const toTop = () =>
    list.evaluate((element: PageList) => {
      element.scrollTop = 0;
    });
  const top = () => list.evaluate((element: PageList) => element.scrollTop);
  await expect
    .poll(() =>
      list.evaluate((element: PageList) => element.scrollHeight - element.clientHeight - element.scrollTop < 5),
    )
    .toBe(true);
  expect(await page.getByText('line 60', { exact: true }).count()).toBe(0);
  await toTop();
  await page.getByText('line 60', { exact: true }).waitFor({ state: 'attached' });
  await expect.poll(top).toBeGreaterThan(100);
  expect(await page.getByText('line 61', { exact: true }).isVisible()).toBe(true);
  for (let i = 0; i < 3; i++) {
    await toTop();
    await page.waitForTimeout(400);
  }
  await page.getByText('line 1', { exact: true }).waitFor();
  await page.getByText('#long begins here').waitFor();
  await page.context().close();
});

test.each(['light', 'dark'] as const)('texts can be read in %s colours', async (colorScheme) => {
  const page = await open(`Ray ${colorScheme}`, { colorScheme });
  const lightness = await page.evaluate(
    `(() => { const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number); return (r + g + b) / 3; })()`,
  );
  if (colorScheme === 'dark') expect(lightness).toBeLessThan(64);
  else expect(lightness).toBeGreaterThan(192);
  const before = await results(page).count();
  await page.keyboard.type(`/imagine a car ${SMALL}`);
  await page.keyboard.press('Enter');
  await expect.poll(() => results(page).count(), { timeout: LONG_MS }).toBe(before + 1);
  await page.locator('.plain-form').waitFor();
  const channel = await faintTexts(page);
  await page.keyboard.type('/');
  const menu = await faintTexts(page);
  await page.getByRole('option', { name: /sketch/ }).click();
  const form = await faintTexts(page);
  await page.context().close();
  expect([...new Set([...channel.faint, ...menu.faint, ...form.faint])]).toEqual([]);
  expect(channel.count).toBeGreaterThan(20);
});
