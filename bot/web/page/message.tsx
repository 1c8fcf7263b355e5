import type { OptionValue } from '../../../commands/command.ts';
import { SIGNS } from '../../../commands/signs.ts';
import type { Said, WireMessage } from '../wire.ts';
import { api, blobUrl } from './api.ts';
import { Avatar } from './avatar.tsx';
import { openForm } from './draft.ts';
import { Emoji, Icon, STAR } from './icons.tsx';
import { openLightbox } from './lightbox.tsx';
import { ReplyView } from './reply-view.tsx';
import { attempt, ready } from './store.ts';

interface MessageProps {
  readonly message: WireMessage;
  /** Follows another message of the same author: its head is left out. */
  readonly isContinued: boolean;
}

export function Message({ message, isContinued }: MessageProps) {
  const { author, said, reply, at } = message;
  const name = author?.name ?? 'Sketchbooth';
  return (
    <article
      id={`message-${message.id}`}
      class={messageClass(message, isContinued)}
      aria-label={`${name}, ${clock(at)}`}
    >
      <div class="gutter">{!isContinued && <Avatar name={name} id={author?.id} />}</div>
      <div class="body">
        {!isContinued && (
          <p class="head">
            <strong>{name}</strong>
            <time dateTime={at} title={new Date(at).toLocaleString()}>
              {clock(at)}
            </time>
            {message.isPrivate && (
              <span class="private">
                <Icon name="lock" /> only you see this
              </span>
            )}
          </p>
        )}
        {said && <SaidView said={said} />}
        {reply && <ReplyView reply={reply} losses={message.losses ?? []} />}
        <Reactions message={message} />
      </div>
    </article>
  );
}

function messageClass({ author, isPrivate }: WireMessage, isContinued: boolean): string {
  return ['message', author ? 'is-person' : 'is-bot', isContinued && 'is-continued', isPrivate && 'is-private']
    .filter(Boolean)
    .join(' ');
}

function clock(at: string): string {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  return isToday ? time : `${date.toLocaleDateString([], { day: 'numeric', month: 'short' })}, ${time}`;
}

function SaidView({ said }: { said: Said }) {
  const { text, command, options = {}, images = {} } = said;
  if (command === undefined) return <p class="plain">{text}</p>;
  const lead = ['prompt', 'name'].find((name) => options[name] !== undefined);
  const rest = Object.entries(options).filter(([name]) => name !== lead);
  const pictures = Object.values(images).flat();
  const shown = pictures.map((blob) => ({ blob, altText: blob.name ?? 'attached picture' }));
  return (
    <div class="said">
      <p>
        <code class="command">/{command}</code> {lead !== undefined && <span>{String(options[lead])}</span>}
      </p>
      {rest.length > 0 && (
        <ul class="said-options">
          {rest.map(([name, value]) => (
            <li key={name}>
              <span>{name}</span> {valueText(value)}
            </li>
          ))}
        </ul>
      )}
      {pictures.length > 0 && (
        <div class="said-pictures">
          {pictures.map((blob, i) => (
            <button
              type="button"
              key={`${blob.hash}${i}`}
              onClick={() => openLightbox(shown, i)}
              aria-label={`Enlarge ${blob.name ?? 'picture'}`}
            >
              <img src={blobUrl(blob)} alt="" loading="lazy" />
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

function valueText(value: OptionValue): string {
  return typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value);
}

/** Reactions that are offered under a result; those that a button says better are understood too. */
const QUICK_REACTIONS: readonly { emoji: string; label: string; argument?: number }[] = [
  ...SIGNS.filter(({ action }) => action === 'variants' || action === 'vary'),
  { emoji: STAR, label: 'Keep in mind' },
  ...SIGNS.filter(({ action }) => action === 'send-to-me' || action === 'delete'),
];

function Reactions({ message }: { message: WireMessage }) {
  const me = ready.value?.person.id;
  const { reactions, reply } = message;
  const isResult = !message.author && !reply?.progress && (reply?.pictures.length ?? 0) > 0;
  const fitting = QUICK_REACTIONS.filter(({ argument = 0 }) => argument <= (reply?.pictures.length ?? 0));
  return (
    <>
      {reactions.length > 0 && (
        <ul class="reactions" aria-label="Reactions">
          {reactions.map(({ emoji, people }) => (
            <li key={emoji}>
              <button
                type="button"
                aria-pressed={people.some(({ id }) => id === me)}
                title={people.map(({ name }) => name).join(', ')}
                aria-label={`${emoji}, ${people.length}: ${people.map(({ name }) => name).join(', ')}`}
                onClick={() => react(message.id, emoji)}
              >
                <Emoji emoji={emoji} /> {people.length}
              </button>
            </li>
          ))}
        </ul>
      )}
      {isResult && (
        <div class="react-bar" role="toolbar" aria-label="React">
          {fitting.map(({ emoji, label }) => (
            <button
              type="button"
              key={emoji}
              title={label}
              aria-label={`React: ${label}`}
              onClick={() => react(message.id, emoji)}
            >
              <Emoji emoji={emoji} />
            </button>
          ))}
        </div>
      )}
    </>
  );
}

async function react(id: number, emoji: string): Promise<void> {
  const answer = await attempt(() => api.react(id, emoji));
  if (answer?.kind === 'form') openForm(answer.form);
}
