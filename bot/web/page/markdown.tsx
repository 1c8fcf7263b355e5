import type { ComponentChildren } from 'preact';
import { Emoji, KNOWN_EMOJI } from './icons.tsx';

/** Text with `**bold**`, `code` and lists, as replies have it. */
export function Markdown({ text }: { text: string }) {
  return (
    <div class="markdown">
      {blocksOf(text).map((block, i) => (
        <Block key={i} {...block} />
      ))}
    </div>
  );
}

interface BlockText {
  readonly kind: 'list' | 'paragraph';
  readonly lines: readonly string[];
}

function Block({ kind, lines }: BlockText) {
  if (kind === 'list')
    return (
      <ul>
        {lines.map((line, i) => (
          <li key={i}>{inline(line)}</li>
        ))}
      </ul>
    );
  return <p>{lines.flatMap((line, i) => (i === 0 ? [inline(line)] : [<br key={i} />, inline(line)]))}</p>;
}

function blocksOf(text: string): readonly BlockText[] {
  const blocks: { kind: BlockText['kind']; lines: string[] }[] = [];
  for (const paragraph of text.split(/\n{2,}/)) {
    let open: (typeof blocks)[number] | undefined;
    for (const line of paragraph.split('\n')) {
      const item = /^\s*[-•]\s+(.*)$/.exec(line);
      const kind = item ? 'list' : 'paragraph';
      if (open?.kind !== kind) {
        open = { kind, lines: [] };
        blocks.push(open);
      }
      open.lines.push(item?.[1] ?? line);
    }
  }
  return blocks.filter(({ lines }) => lines.some((line) => line.trim() !== ''));
}

function inline(text: string): ComponentChildren {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part, i) => {
    if (part.startsWith('**') && part.length > 4) return <strong key={i}>{part.slice(2, -2)}</strong>;
    if (part.startsWith('`') && part.length > 2) return <code key={i}>{part.slice(1, -1)}</code>;
    return part
      .split(KNOWN_EMOJI)
      .map((piece, j) => (KNOWN_EMOJI.test(piece) ? <Emoji key={j} emoji={piece} /> : piece));
  });
}
