import type { ReplyButton } from '../../platform.ts';
import { api } from './api.ts';
import { openForm } from './draft.ts';
import { Icon, type IconName } from './icons.tsx';
import { attempt, channelId } from './store.ts';

const BUTTON_ICONS: Readonly<Partial<Record<ReplyButton['action'], IconName>>> = {
  variants: 'refresh',
  'more-control': 'more',
  'less-control': 'less',
  edit: 'edit',
  details: 'info',
  delete: 'trash',
  'send-to-me': 'mail',
  cancel: 'close',
  'use-sample': 'check',
  'stop-here': 'stop',
};

/** @param label  shown instead of the button's own, which it keeps as its accessible name */
export function ActionButton({ button, label }: { button: ReplyButton; label?: string }) {
  const icon = BUTTON_ICONS[button.action];
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
