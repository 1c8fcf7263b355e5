import { computed } from '@preact/signals';
import { channelView } from './store.ts';

/** Messages of this channel whose job is under way. */
export const runningJobs = computed(() =>
  (channelView.value?.messages ?? []).flatMap((message) =>
    message.reply?.progress ? [{ message, progress: message.reply.progress }] : [],
  ),
);

export function percent({ done, total }: { done: number; total: number }): number {
  return Math.min(100, Math.round((100 * done) / Math.max(1, total)));
}
