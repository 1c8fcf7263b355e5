import { signal } from '@preact/signals';

type Theme = 'light' | 'dark';

const KEY = 'sketchbooth-theme';
const system = matchMedia('(prefers-color-scheme: dark)');

export const theme = signal<Theme>(chosen() ?? (system.matches ? 'dark' : 'light'));

/** Follows the system until somebody chooses. */
export function startTheme(): void {
  system.addEventListener('change', () => {
    if (!chosen()) apply(system.matches ? 'dark' : 'light');
  });
  apply(theme.value);
}

export function toggleTheme(): void {
  const next = theme.value === 'dark' ? 'light' : 'dark';
  localStorage.setItem(KEY, next);
  apply(next);
}

function apply(next: Theme): void {
  theme.value = next;
  document.documentElement.dataset['theme'] = next;
}

function chosen(): Theme | undefined {
  const stored = localStorage.getItem(KEY);
  return stored === 'light' || stored === 'dark' ? stored : undefined;
}
