const HUES = 8;

/** A person by the first letter of their name, the bot by its stroke. */
export function Avatar({ name, id }: { name: string; id: string | undefined }) {
  if (id === undefined) {
    return (
      <span class="avatar is-bot" aria-hidden="true">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <path d="M7 21c3-9 6-9 8-4s4 5 6 0 2-6 4-6" />
        </svg>
      </span>
    );
  }
  const hue = [...id].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 9973, 7) % HUES;
  return (
    <span class={`avatar hue-${hue}`} aria-hidden="true">
      {[...name][0]?.toUpperCase()}
    </span>
  );
}
