import type { ReplyButton } from '../../platform.ts';
import { api } from './api.ts';
import { openForm } from './draft.ts';
import { ACTION_ICONS, Icon } from './icons.tsx';
import { attempt, channelId } from './store.ts';

/** @param label  shown instead of the button's own, which it keeps as its accessible name */
export function ActionButton({ button, label }: { button: ReplyButton; label?: string }) {
  const icon = ACTION_ICONS[button.action];
  return (
    <button
      type="button"
      class={`action is-${button.style ?? 'secondary'}`}
      aria-label={label ? `Vary picture ${label}` : undefined}
      onClick={() => press(button)}
    >
      {icon && <Icon name={icon} />}
      {label ?? button.label}
    </button>
  );
}

async function press({ action, jobId, argument }: ReplyButton): Promise<void> {
  const answer = await attempt(() => api.press(channelId.value, { action, jobId, argument }));
  if (answer?.kind === 'form') openForm(answer.form);
}
