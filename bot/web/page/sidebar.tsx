import { useSignal } from '@preact/signals';
import { api } from './api.ts';
import { Avatar } from './avatar.tsx';
import { Icon } from './icons.tsx';
import { addChannel, attempt, channelId, isSidebarOpen, openChannel, ready, unread } from './store.ts';
import { theme, toggleTheme } from './theme.ts';

export function Sidebar() {
  const isOpen = isSidebarOpen.value;
  return (
    <>
      {isOpen && (
        <button
          type="button"
          class="veil"
          aria-label="Close the list of channels"
          onClick={() => {
            isSidebarOpen.value = false;
          }}
        />
      )}
      <nav class={`sidebar${isOpen ? ' is-open' : ''}`} aria-label="Channels">
        <p class="wordmark">Sketchbooth</p>
        <Channels />
        <Me />
      </nav>
    </>
  );
}

function Channels() {
  return (
    <>
      <h2>Channels</h2>
      <ul class="channels">
        {ready.value?.channels.map(({ id, name }) => (
          <li key={id}>
            <button
              type="button"
              class={unread.value.has(id) ? 'is-unread' : ''}
              aria-current={id === channelId.value ? 'page' : undefined}
              onClick={() => attempt(() => openChannel(id))}
            >
              <span class="channel-mark" aria-hidden="true">
                {id.startsWith('dm:') ? <Icon name="lock" /> : '#'}
              </span>
              {name}
              {unread.value.has(id) && <span class="dot" role="img" aria-label="new messages" />}
            </button>
          </li>
        ))}
      </ul>
      <NewChannel />
    </>
  );
}

function NewChannel() {
  const isOpen = useSignal(false);
  if (!isOpen.value) {
    return (
      <button
        type="button"
        class="quiet add-channel"
        onClick={() => {
          isOpen.value = true;
        }}
      >
        <Icon name="plus" /> New channel
      </button>
    );
  }
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const name = String(new FormData(event.currentTarget as HTMLFormElement).get('name') ?? '');
    await attempt(() => addChannel(name));
    isOpen.value = false;
  };
  return (
    <form class="add-channel" onSubmit={submit}>
      <input
        name="name"
        aria-label="Name of the new channel"
        placeholder="name, then Enter"
        maxLength={32}
        required
        autofocus
      />
    </form>
  );
}

function Me() {
  const person = ready.value?.person;
  if (!person) return null;
  const leave = () =>
    attempt(async () => {
      await api.signOut();
      location.reload();
    });
  return (
    <div class="me">
      <Avatar name={person.name} id={person.id} />
      <span class="me-name">
        {person.name}
        {person.isAdministrator && <small>admin</small>}
      </span>
      <button
        type="button"
        class="round"
        onClick={toggleTheme}
        aria-label={theme.value === 'dark' ? 'Light colours' : 'Dark colours'}
      >
        <Icon name={theme.value === 'dark' ? 'sun' : 'moon'} />
      </button>
      <button
        type="button"
        class="round"
        onClick={leave}
        aria-label="Sign out, or come back as someone else"
        title="Sign out"
      >
        <Icon name="leave" />
      </button>
    </div>
  );
}
