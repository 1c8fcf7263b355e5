/** What the page shows, as signals; everything that is remembered comes from the server. */
import { computed, signal } from '@preact/signals';
import type { WireChannel, WireMessage, WireState } from '../wire.ts';
import { api, RequestError } from './api.ts';

type Ready = Extract<WireState, { needs: 'nothing' }>;

interface ChannelView {
  /** Oldest first. */
  readonly messages: readonly WireMessage[];
  readonly hasMore: boolean;
}

export const state = signal<WireState | undefined>(undefined);
export const ready = computed(() => (state.value?.needs === 'nothing' ? (state.value as Ready) : undefined));
export const channelId = signal(readChannelFromAddress());
export const channelViews = signal<Readonly<Record<string, ChannelView>>>({});
export const unread = signal<ReadonlySet<string>>(new Set());
export const isConnected = signal(false);
export const isSidebarOpen = signal(false);
/** A sentence for the person that goes away by itself. */
export const toast = signal<string | undefined>(undefined);
/** What screen readers are told. */
export const announcement = signal('');

export const channelView = computed(() => channelViews.value[channelId.value]);
export const channelName = computed(
  () => ready.value?.channels.find((channel) => channel.id === channelId.value)?.name ?? channelId.value,
);

let toastTimer: ReturnType<typeof setTimeout> | undefined;
export function showToast(text: string): void {
  clearTimeout(toastTimer);
  toast.value = text;
  toastTimer = setTimeout(() => {
    toast.value = undefined;
  }, 8000);
}

/** Runs a deed and shows what went wrong, if anything did. */
export async function attempt<T>(deed: () => Promise<T>): Promise<T | undefined> {
  try {
    return await deed();
  } catch (error) {
    showToast(error instanceof Error ? error.message : String(error));
    if (error instanceof RequestError && error.status === 401) await loadState();
    return undefined;
  }
}

/** Asks the server who we are and what there is; opens the channel if we may. */
export async function loadState(): Promise<void> {
  state.value = await api.state();
  if (!ready.value) return stopListening();
  const isKnown = ready.value.channels.some((channel) => channel.id === channelId.value);
  await openChannel(isKnown ? channelId.value : (ready.value.channels[0]?.id ?? 'studio'));
}

export async function openChannel(id: string): Promise<void> {
  channelId.value = id;
  isSidebarOpen.value = false;
  unread.value = new Set([...unread.value].filter((other) => other !== id));
  history.replaceState(null, '', `#${encodeURIComponent(id)}`);
  if (known(id)) return;
  const { messages, revision, hasMore } = await api.history(id);
  setView(id, { messages: merge(known(id)?.messages ?? [], messages), hasMore });
  listen(revision);
}

export async function addChannel(name: string): Promise<void> {
  const channel: WireChannel = await api.addChannel(name);
  state.value = await api.state();
  await openChannel(channel.id);
}

/** Puts an older page in front. Returns whether there was one. */
export async function loadOlder(): Promise<boolean> {
  const id = channelId.value;
  const view = known(id);
  const oldest = view?.messages[0];
  if (!view?.hasMore || !oldest) return false;
  const { messages, hasMore } = await api.history(id, oldest.id);
  setView(id, { messages: merge(known(id)?.messages ?? [], messages), hasMore });
  return messages.length > 0;
}

function known(id: string): ChannelView | undefined {
  return channelViews.value[id];
}

function setView(id: string, view: ChannelView): void {
  channelViews.value = { ...channelViews.value, [id]: view };
}

/** Both lists by id, of each message its newest state, without what was removed. */
function merge(old: readonly WireMessage[], fresh: readonly WireMessage[]): readonly WireMessage[] {
  const byId = new Map(old.map((message) => [message.id, message]));
  for (const message of fresh) {
    const known = byId.get(message.id);
    if (!known || known.revision < message.revision) byId.set(message.id, message);
  }
  return [...byId.values()].filter((message) => !message.isRemoved).sort((a, b) => a.id - b.id);
}

const TITLE = 'Sketchbooth';
document.addEventListener('visibilitychange', () => {
  document.title = TITLE;
});

let events: EventSource | undefined;
let newestRevision = 0;

function listen(revision: number): void {
  if (events) return;
  newestRevision = Math.max(newestRevision, revision);
  const source = new EventSource(`/api/events?since=${newestRevision}`);
  events = source;
  source.addEventListener('pulse', () => {
    isConnected.value = true;
  });
  source.onmessage = ({ data }) => receive(JSON.parse(data) as WireMessage);
  source.onerror = () => {
    isConnected.value = false;
    if (source.readyState === EventSource.CLOSED) setTimeout(() => reconnect(source), 2000);
  };
}

async function reconnect(source: EventSource): Promise<void> {
  if (events !== source) return;
  stopListening();
  try {
    state.value = await api.state();
    if (ready.value) listen(newestRevision);
  } catch {
    events = source;
    setTimeout(() => reconnect(source), 2000);
  }
}

function stopListening(): void {
  events?.close();
  events = undefined;
}

function receive(message: WireMessage): void {
  newestRevision = Math.max(newestRevision, message.revision);
  const view = channelViews.value[message.channelId];
  const known = view?.messages.find(({ id }) => id === message.id);
  if (known) announceProgress(known, message);
  else if (!message.isRemoved) {
    announceNew(message);
    if (document.hidden && !message.author) document.title = `● ${TITLE}`;
  }
  // A channel that was never opened is read whole when it is.
  if (view) setView(message.channelId, { ...view, messages: merge(view.messages, [message]) });
  if (!known && message.channelId !== channelId.value) unread.value = new Set([...unread.value, message.channelId]);
}

function announceNew({ author, said, reply, channelId: where }: WireMessage): void {
  if (where !== channelId.value || author?.id === ready.value?.person.id) return;
  const pictures = reply?.pictures.length ? `, ${reply.pictures.length} pictures: ${reply.pictures[0]?.altText}` : '';
  announcement.value = `${author?.name ?? 'Sketchbooth'}: ${said?.text || reply?.text || said?.command || ''}${pictures}`;
}

/** Says a quarter at a time, since a bar that speaks at every step drowns everything else. */
function announceProgress(before: WireMessage, after: WireMessage): void {
  const quarter = ({ reply }: WireMessage) =>
    reply?.progress ? Math.floor((4 * reply.progress.done) / Math.max(1, reply.progress.total)) : undefined;
  const now = quarter(after);
  if (now !== undefined && now !== quarter(before)) announcement.value = `${now * 25} percent`;
}

function readChannelFromAddress(): string {
  return decodeURIComponent(location.hash.slice(1)) || 'studio';
}
