import { Composer } from './composer.tsx';
import { DropTarget } from './drop-target.tsx';
import { Header } from './header.tsx';
import { Lightbox } from './lightbox.tsx';
import { MessageList } from './message-list.tsx';
import { Sidebar } from './sidebar.tsx';
import { SignIn } from './sign-in.tsx';
import { SketchPad } from './sketch-pad.tsx';
import { announcement, state, toast } from './store.ts';

export function App() {
  return (
    <>
      {content()}
      <div class="visually-hidden" aria-live="polite">
        {announcement.value}
      </div>
      <div class="toast-place" role="status">
        {toast.value && <p class="toast">{toast.value}</p>}
      </div>
    </>
  );
}

function content() {
  const { value } = state;
  if (!value) return <p class="opening">Opening the sketchbook…</p>;
  return value.needs === 'nothing' ? <Booth /> : <SignIn needs={value.needs} />;
}

function Booth() {
  return (
    <DropTarget>
      <a class="skip" href="#composer">
        Skip to writing
      </a>
      <Sidebar />
      <main>
        <Header />
        <MessageList />
        <Composer />
      </main>
      <SketchPad />
      <Lightbox />
    </DropTarget>
  );
}
