/** The page's files, bundled when the program starts; takes about a tenth of a second. */
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

export interface PageFile {
  readonly text: string;
  readonly type: string;
  readonly etag: string;
}

let bundled: Promise<ReadonlyMap<string, PageFile>> | undefined;

/** @returns the page's files by their path, "/" included; they are bundled once in a program */
export function bundlePage(): Promise<ReadonlyMap<string, PageFile>> {
  bundled ??= bundle();
  return bundled;
}

async function bundle(): Promise<ReadonlyMap<string, PageFile>> {
  const folder = fileURLToPath(new URL('./page/', import.meta.url));
  const { outputFiles } = await build({
    entryPoints: { page: `${folder}main.tsx`, style: `${folder}style.css` },
    outdir: '/',
    bundle: true,
    write: false,
    minify: true,
    format: 'esm',
    target: ['es2022', 'chrome109', 'firefox115', 'safari16'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    logLevel: 'silent',
  });
  const files = new Map<string, PageFile>();
  for (const { path, text } of outputFiles) {
    const isScript = path.endsWith('.js');
    files.set(isScript ? '/page.js' : '/style.css', pageFile(text, isScript ? 'text/javascript' : 'text/css'));
  }
  files.set('/', pageFile(SHELL, 'text/html'));
  files.set('/icon.svg', pageFile(ICON, 'image/svg+xml'));
  return files;
}

function pageFile(text: string, type: string): PageFile {
  const etag = `"${createHash('sha256').update(text).digest('base64url').slice(0, 22)}"`;
  return { text, type: `${type}; charset=utf-8`, etag };
}

const SHELL = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, interactive-widget=resizes-content">
<meta name="color-scheme" content="light dark">
<title>Sketchbooth</title>
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<div id="page"></div>
<noscript>Sketchbooth’s page needs JavaScript.</noscript>
<script type="module" src="/page.js"></script>
</body>
</html>
`;

/** A frame with a stroke across it. */
const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#c2472d"/>
<path d="M7 21c3-9 6-9 8-4s4 5 6 0 2-6 4-6" fill="none" stroke="#fff" stroke-width="2.8" stroke-linecap="round"/></svg>
`;
