import type { WriteStream } from 'node:tty';
import { MultiBar, type SingleBar } from 'cli-progress';
import type { DownloadListener } from './add-repository.ts';
import { formatBytes } from './format-bytes.ts';
import type { HubFile } from './hub.ts';

/** Shows a download to a person; `stop` gives the terminal back. */
export interface DownloadProgress extends DownloadListener {
  stop(): void;
}

/** Draws a bar per file on a terminal, and prints plain lines where there is none, as in a log. */
export function downloadProgress(stream: WriteStream): DownloadProgress {
  return stream.isTTY ? progressBars(stream) : progressLines((line) => stream.write(`${line}\n`));
}

// Smaller files are there before a bar could move.
const MIN_BAR_BYTES = 1e6;

function progressBars(stream: WriteStream): DownloadProgress {
  const format = '{bar} {percentage}% {size} {path}';
  const multiBar = new MultiBar({ stream, format, hideCursor: true, gracefulExit: false, barsize: 24 });
  const bars = new Map<string, SingleBar>();
  const barOf = ({ path, sizeBytes }: HubFile) => {
    const bar = bars.get(path) ?? multiBar.create(sizeBytes, 0, { path, size: formatBytes(sizeBytes) });
    bars.set(path, bar);
    return bar;
  };
  return {
    onStart: (files) => stream.write(`${summaryOf(files)}\n`),
    onBytes: (file, receivedBytes) => {
      if (file.sizeBytes >= MIN_BAR_BYTES) barOf(file).update(receivedBytes);
    },
    onWhole: () => undefined,
    onRetry: (what, reason) => multiBar.log(`Trying again to ${what}: ${reason}\n`),
    stop: () => multiBar.stop(),
  };
}

/**
 * Prints a line per file and one per tenth of the whole download.
 * @param print   receives lines without their end
 */
export function progressLines(print: (line: string) => void): DownloadProgress {
  const received = new Map<string, number>();
  let totalBytes = 0;
  let tenthsPrinted = 0;
  return {
    onStart: (files) => {
      totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      print(summaryOf(files));
    },
    onBytes: ({ path }, receivedBytes) => {
      received.set(path, receivedBytes);
      const tenths = Math.floor((10 * sumOf(received.values())) / totalBytes);
      if (tenths <= tenthsPrinted) return;
      tenthsPrinted = tenths;
      print(`${tenths * 10} % of ${formatBytes(totalBytes)}`);
    },
    onWhole: ({ path, sizeBytes }) => print(`${path}: ${formatBytes(sizeBytes)}, verified`),
    onRetry: (what, reason) => print(`Trying again to ${what}: ${reason}`),
    stop: () => undefined,
  };
}

function summaryOf(files: readonly HubFile[]): string {
  return `${files.length} files, ${formatBytes(sumOf(files.map(({ sizeBytes }) => sizeBytes)))}`;
}

function sumOf(numbers: Iterable<number>): number {
  let sum = 0;
  for (const number of numbers) sum += number;
  return sum;
}
