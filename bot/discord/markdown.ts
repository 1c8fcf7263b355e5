/** Our Markdown (`**bold**`, `code`, lists) as Discord's, with everything else escaped: words of people never format or mention. */

const SPAN = /\*\*(?<bold>[^\n]+?)\*\*|`(?<code>[^`\n]+)`/g;

export function toDiscordText(text: string): string {
  return text.split('\n').map(toDiscordLine).join('\n');
}

function toDiscordLine(line: string): string {
  const item = /^\s*- /.exec(line)?.[0] ?? '';
  return item + toDiscordSpans(line.slice(item.length));
}

function toDiscordSpans(line: string): string {
  let written = '';
  let end = 0;
  for (const match of line.matchAll(SPAN)) {
    written += escapeText(line.slice(end, match.index));
    const { bold, code } = match.groups ?? {};
    written += bold === undefined ? `\`${code}\`` : `**${escapeText(bold)}**`;
    end = match.index + match[0].length;
  }
  return written + escapeText(line.slice(end));
}

/** Escapes what Discord would format: emphasis, code, spoilers, headings, quotes, lists, links, mentions and emoji names. */
function escapeText(text: string): string {
  return text.replace(/[\\*_~`|<>[\]()#:@]/g, '\\$&').replace(/^(\s*)([-+]|\d+\.)(?=\s)/, '$1\\$2');
}
