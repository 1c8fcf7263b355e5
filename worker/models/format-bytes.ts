const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** Writes a byte count with three significant digits in decimal units: 3438167540 is "3.44 GB". */
export function formatBytes(sizeBytes: number): string {
  const exponent = sizeBytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(sizeBytes) / 3), UNITS.length - 1);
  return `${Number((sizeBytes / 1000 ** exponent).toPrecision(3))} ${UNITS[exponent]}`;
}
