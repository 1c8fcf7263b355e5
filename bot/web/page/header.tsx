import { Icon } from './icons.tsx';
import { percent, runningJobs } from './running-jobs.ts';
import { channelId, channelName, isConnected, isSidebarOpen } from './store.ts';

export function Header() {
  const isDirect = channelId.value.startsWith('dm:');
  return (
    <header class="channel-header">
      <button
        type="button"
        class="round only-narrow"
        aria-label="Show the channels"
        onClick={() => {
          isSidebarOpen.value = true;
        }}
      >
        <Icon name="menu" />
      </button>
      <h1>
        <span class="channel-mark" aria-hidden="true">
          {isDirect ? <Icon name="lock" /> : '#'}
        </span>
        {channelName.value}
      </h1>
      <Jobs />
      {!isConnected.value && (
        <p class="offline" role="status">
          reconnecting…
        </p>
      )}
    </header>
  );
}

/** Jobs under way in this channel; a click goes to the message that shows one. */
function Jobs() {
  const jobs = runningJobs.value;
  if (jobs.length === 0) return null;
  return (
    <ul class="jobs" aria-label="Jobs under way">
      {jobs.slice(0, 4).map(({ message, progress }) => (
        <li key={message.id}>
          <a href={`#message-${message.id}`} onClick={(event) => goTo(event, message.id)}>
            <progress
              value={progress.done}
              max={Math.max(1, progress.total)}
              aria-label={`job at ${percent(progress)} %`}
            />
            {percent(progress)} %
          </a>
        </li>
      ))}
    </ul>
  );
}

function goTo(event: Event, id: number): void {
  event.preventDefault();
  document.getElementById(`message-${id}`)?.scrollIntoView({ behavior: 'smooth', block: 'center' });
}
