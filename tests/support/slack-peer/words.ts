import type { PeerMessage } from './world.ts';

/** The words of a message's rich text, mentions as `@U0ADA`. */
export function wordsOf({ blocks }: Pick<PeerMessage, 'blocks'>): string {
  const words = (element: unknown): string => {
    const { text, user_id, elements, type } = element as {
      text?: string;
      user_id?: string;
      elements?: unknown[];
      type: string;
    };
    if (elements) return elements.map(words).join(type === 'rich_text_list' ? '\n' : '');
    return user_id === undefined ? (text ?? '') : `@${user_id}`;
  };
  return blocks
    .flatMap((block) => (block.type === 'rich_text' ? [block.elements.map(words).join('\n')] : []))
    .join('\n');
}
