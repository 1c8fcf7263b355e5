import { render } from 'preact';
import { App } from './app.tsx';
import { attempt, loadState } from './store.ts';
import { startTheme } from './theme.ts';

startTheme();
const root = document.getElementById('page');
if (root) render(<App />, root);
void attempt(loadState);
