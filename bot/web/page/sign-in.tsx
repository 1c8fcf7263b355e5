import { useSignal } from '@preact/signals';
import { api } from './api.ts';
import { loadState } from './store.ts';

/** Asks for the password, where one is needed, and then for a name. */
export function SignIn({ needs }: { needs: 'password' | 'name' }) {
  const problem = useSignal<string | undefined>(undefined);
  const isPassword = needs === 'password';
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const text = String(new FormData(event.currentTarget as HTMLFormElement).get('answer') ?? '');
    try {
      await (isPassword ? api.signIn(text) : nameMe(text));
      problem.value = undefined;
      await loadState();
    } catch (error) {
      problem.value = error instanceof Error ? error.message : String(error);
    }
  };
  return (
    <main class="sign-in">
      <form onSubmit={submit} class="sheet" key={needs}>
        <p class="wordmark">Sketchbooth</p>
        <h1>{isPassword ? 'This booth has a password' : 'Who is drawing?'}</h1>
        <label for="answer">{isPassword ? 'Password' : 'Your name, as the others see it'}</label>
        <input
          id="answer"
          name="answer"
          type={isPassword ? 'password' : 'text'}
          autocomplete={isPassword ? 'current-password' : 'nickname'}
          maxLength={isPassword ? 1000 : 32}
          required
          autofocus
          aria-describedby="sign-in-problem"
        />
        <p id="sign-in-problem" class="problem" role="alert">
          {problem.value}
        </p>
        <button type="submit" class="primary">
          {isPassword ? 'Open' : 'Come in'}
        </button>
      </form>
    </main>
  );
}

/** A page without password has no session yet: an empty password opens one. */
async function nameMe(name: string): Promise<void> {
  try {
    await api.callMe(name);
  } catch (error) {
    if (!(error instanceof Error && 'status' in error && error.status === 401)) throw error;
    await api.signIn('');
    await api.callMe(name);
  }
}
