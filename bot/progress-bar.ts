import type { Reply } from './platform.ts';

const BAR_CELLS = 12;

/** A bar in words, for chats that have none of their own; empty where there is no progress. */
export function progressBar({ progress }: Pick<Reply, 'progress'>): string {
  if (progress === undefined) return '';
  const filled = Math.round((BAR_CELLS * Math.min(progress.done, progress.total)) / progress.total);
  return `${'▰'.repeat(filled)}${'▱'.repeat(BAR_CELLS - filled)}`;
}
