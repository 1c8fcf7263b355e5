import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import type { WireMessage } from '../wire.ts';
import { beginCommand, commandNamed, setValue } from './draft.ts';
import { Icon } from './icons.tsx';
import { Message } from './message.tsx';
import { drawSketch } from './sketch-pad.tsx';
import { attempt, channelId, channelName, channelView, loadOlder } from './store.ts';

/** How far from the end still counts as reading the newest. */
const NEAR_PX = 120;
const SAME_BREATH_MS = 5 * 60 * 1000;

export function MessageList() {
  const list = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const lastTop = useRef(0);
  const hasNews = useSignal(false);
  const view = channelView.value;
  const newest = view?.messages.at(-1)?.id;
  const changes = view?.messages.reduce((sum, message) => sum + message.revision, 0);
  // Pictures that load later push the end away.
  const keepEnd = () => {
    const element = list.current;
    if (element && isAtEnd.current) element.scrollTop = element.scrollHeight;
  };
  useLayoutEffect(() => {
    isAtEnd.current = true;
    hasNews.value = false;
    keepEnd();
  }, [channelId.value]);
  useLayoutEffect(keepEnd, [changes]);
  useEffect(() => {
    if (!isAtEnd.current) hasNews.value = true;
  }, [newest]);
  useEffect(() => {
    const observer = new ResizeObserver(keepEnd);
    for (const child of [list.current, list.current?.firstElementChild]) if (child) observer.observe(child);
    return () => observer.disconnect();
  }, []);
  const onScroll = () => {
    const element = list.current;
    if (!element) return;
    const isNear = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX;
    // A picture that loads moves the end away too; only scrolling up is leaving it.
    if (isNear || element.scrollTop < lastTop.current) isAtEnd.current = isNear;
    lastTop.current = element.scrollTop;
    if (isAtEnd.current) hasNews.value = false;
    if (element.scrollTop < NEAR_PX) void older(element);
  };
  const toEnd = () => list.current?.scrollTo({ top: list.current.scrollHeight, behavior: 'smooth' });
  return (
    <div class="list-place">
      <div
        class="list"
        ref={list}
        onScroll={onScroll}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
        tabIndex={0}
        role="log"
        aria-label={`Messages in ${channelName.value}`}
        aria-live="off"
      >
        <div class="messages">
          {view?.hasMore && <OlderButton list={list} />}
          {view && !view.hasMore && <Beginning isEmpty={view.messages.length === 0} />}
          {view?.messages.map((message, i) => (
            <Message key={message.id} message={message} isContinued={isContinued(view.messages[i - 1], message)} />
          ))}
        </div>
      </div>
      {hasNews.value && (
        <button type="button" class="news" onClick={toEnd}>
          <Icon name="down" /> New below
        </button>
      )}
    </div>
  );
}

function OlderButton({ list }: { list: { readonly current: HTMLElement | null } }) {
  return (
    <button type="button" class="quiet older" onClick={() => list.current && older(list.current)}>
      Show older
    </button>
  );
}

let isLoadingOlder = false;

/** Loads what came before and keeps what is in view where it is. */
async function older(list: HTMLElement): Promise<void> {
  if (isLoadingOlder) return;
  isLoadingOlder = true;
  const fromEnd = list.scrollHeight - list.scrollTop;
  const isLoaded = await attempt(loadOlder);
  if (isLoaded) {
    requestAnimationFrame(() => {
      list.scrollTop = list.scrollHeight - fromEnd;
    });
  }
  isLoadingOlder = false;
}

function isContinued(before: WireMessage | undefined, message: WireMessage): boolean {
  if (!before || before.author?.id !== message.author?.id || before.isPrivate !== message.isPrivate) return false;
  return Date.parse(message.at) - Date.parse(before.at) < SAME_BREATH_MS;
}

const EXAMPLE_PROMPT = 'a red car on a beach';

const FIRST_STEPS = [
  {
    command: 'imagine',
    title: 'Describe a picture',
    text: EXAMPLE_PROMPT,
    start: () => {
      begin('imagine');
      setValue('prompt', EXAMPLE_PROMPT);
    },
  },
  { command: 'sketch', title: 'Draw, and let it follow', text: 'right here, on a canvas', start: drawSketch },
  { command: 'teach', title: 'Teach it your things', text: 'from three to five photos', start: () => begin('teach') },
];

function begin(name: string): void {
  const command = commandNamed(name);
  if (command) beginCommand(command);
}

function Beginning({ isEmpty }: { isEmpty: boolean }) {
  return (
    <section class={`beginning${isEmpty ? ' is-empty' : ''}`} aria-label="Beginning of the channel">
      <h2>{channelId.value.startsWith('dm:') ? 'Just you and the booth' : `#${channelName.value} begins here`}</h2>
      <p>
        Type <kbd>/</kbd> for commands, or drop a picture anywhere.
      </p>
      {isEmpty && (
        <ul class="first-steps">
          {FIRST_STEPS.map(({ command, title, text, start }) => (
            <li key={command}>
              <button type="button" onClick={start}>
                <code>/{command}</code>
                <strong>{title}</strong>
                <span>{text}</span>
              </button>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
