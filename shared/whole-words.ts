/**
 * Finds a concept's name in a prompt: whole words, in any case, however far apart. Where the bot finds a name the worker
 * must put its words, so both look with this.
 */
export function wholeWords(name: string): RegExp {
  const words = name
    .trim()
    .split(/\s+/)
    .map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`(?<![\\p{L}\\p{N}_])${words.join('\\s+')}(?![\\p{L}\\p{N}_])`, 'giu');
}
