/** What a page is to those who do not see it, or not well. */
import type { Page } from 'playwright-core';

interface AxNode {
  readonly ignored: boolean;
  readonly role?: { readonly value: string };
  readonly name?: { readonly value: string };
  readonly backendDOMNodeId?: number;
}

/** Roles of what one can use, and of pictures that say something. */
const NAMED_ROLES = new Set([
  'button',
  'link',
  'textbox',
  'combobox',
  'listbox',
  'option',
  'slider',
  'checkbox',
  'progressbar',
  'image',
  'dialog',
  'toolbar',
  'navigation',
  'log',
]);

/** Nodes of Chromium's accessibility tree that have a role and no name, by role. */
export async function namelessControls(page: Page): Promise<{ nameless: string[]; count: number }> {
  const session = await page.context().newCDPSession(page);
  const { nodes } = (await session.send('Accessibility.getFullAXTree')) as unknown as { nodes: readonly AxNode[] };
  const named = nodes.filter(({ ignored, role }) => !ignored && NAMED_ROLES.has(role?.value ?? ''));
  await session.detach();
  const nameless = named.filter(({ name }) => (name?.value ?? '').trim() === '').map(({ role }) => role!.value);
  return { nameless, count: named.length };
}

/** Least contrast of text that WCAG 2.2 asks for, at level AA, for text that is not large. */
export const LEAST_CONTRAST = 4.5;

/**
 * Texts that are hard to read, with their contrast: of every element that has text of its own, its colour against the
 * background that is behind it.
 * @see WCAG 2.2, success criterion 1.4.3
 */
export async function faintTexts(page: Page): Promise<{ faint: string[]; count: number }> {
  return page.evaluate(`(() => {
    const brush = Object.assign(document.createElement('canvas'), { width: 1, height: 1 })
      .getContext('2d', { willReadFrequently: true });
    const over = (color, below) => {
      brush.fillStyle = 'rgb(' + below.join(' ') + ')';
      brush.fillRect(0, 0, 1, 1);
      brush.fillStyle = color;
      brush.fillRect(0, 0, 1, 1);
      return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const backgroundOf = (element) => {
      const below = element.parentElement ? backgroundOf(element.parentElement) : [255, 255, 255];
      return over(getComputedStyle(element).backgroundColor, below);
    };
    const luminance = (rgb) => {
      const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const own = (element) => [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join('').trim();
    const elements = [...document.querySelectorAll('body *')].filter((element) => {
      const isSeen = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
      return own(element) !== '' && isSeen && !element.closest('.visually-hidden, :disabled, option, script, style');
    });
    const faint = elements.flatMap((element) => {
      const background = backgroundOf(element);
      const [a, b] = [luminance(over(getComputedStyle(element).color, background)), luminance(background)];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      return contrast < ${LEAST_CONTRAST} ? [own(element).slice(0, 40) + ': ' + contrast.toFixed(2)] : [];
    });
    return { faint, count: elements.length };
  })()`);
}
