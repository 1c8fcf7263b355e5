/**
 * Our Markdown (`**bold**`, `code`, lists) as a rich text block. Its texts are never read for formatting or mentions, so
 * words of people need no escaping.
 */
import type { RichTextBlock, RichTextElement, RichTextList, RichTextSection } from '@slack/types';

const SPAN = /\*\*(?<bold>[^\n]+?)\*\*|`(?<code>[^`\n]+)`/g;
const ITEM = /^\s*- /;

/** @param userIds  people who are named, and notified, at the start */
export function toRichText(text: string, userIds: readonly string[] = []): RichTextBlock {
  const mentions = userIds.flatMap((user_id): RichTextElement[] => [{ type: 'user', user_id }, plain(' ')]);
  const parts = groupLines(text.split('\n')).map(({ isList, lines }, index) => {
    const start = index === 0 ? mentions : [];
    return isList
      ? [...(start.length > 0 ? [section(start)] : []), list(lines)]
      : [section([...start, ...joined(lines)])];
  });
  return { type: 'rich_text', elements: parts.flat() };
}

interface LineGroup {
  readonly isList: boolean;
  readonly lines: string[];
}

function groupLines(lines: readonly string[]): LineGroup[] {
  const groups: LineGroup[] = [];
  for (const line of lines) {
    const isList = ITEM.test(line);
    const last = groups.at(-1);
    if (last?.isList === isList) last.lines.push(line);
    else groups.push({ isList, lines: [line] });
  }
  return groups;
}

function section(elements: RichTextElement[]): RichTextSection {
  return { type: 'rich_text_section', elements: elements.length > 0 ? elements : [plain(' ')] };
}

function list(lines: readonly string[]): RichTextList {
  const elements = lines.map((line) => section(spans(line.replace(ITEM, ''))));
  return { type: 'rich_text_list', style: 'bullet', elements };
}

function joined(lines: readonly string[]): RichTextElement[] {
  return lines.flatMap((line, index) => (index === 0 ? spans(line) : [plain('\n'), ...spans(line)]));
}

function spans(line: string): RichTextElement[] {
  const elements: RichTextElement[] = [];
  let end = 0;
  const add = (text: string, style?: { bold?: true; code?: true }) => {
    // Slack refuses empty texts.
    if (text !== '') elements.push({ type: 'text', text, ...(style && { style }) });
  };
  for (const match of line.matchAll(SPAN)) {
    add(line.slice(end, match.index));
    const { bold, code } = match.groups ?? {};
    if (bold === undefined) add(code ?? '', { code: true });
    else add(bold, { bold: true });
    end = match.index + match[0].length;
  }
  add(line.slice(end));
  return elements;
}

function plain(text: string): RichTextElement {
  return { type: 'text', text };
}

/** The text of a notification, where formatting is read: the signs that begin mentions and links are escaped. */
export function toFallbackText(text: string): string {
  const words = text.replaceAll('**', '').replaceAll('`', '');
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
