/** A line of the evaluation's table. */
export interface Measure {
  readonly name: string;
  /** What the goal is, in words. */
  readonly goal: string;
  /** What was seen, in words. */
  readonly seen: string;
  /** Pictures that it was taken from. */
  readonly samples: number;
  readonly verdict: 'met' | 'missed' | 'reported' | 'not measured';
}

/** A picture of the page, or a row of them, with words below. */
export interface Exhibit {
  readonly title: string;
  /** RGB, 128 x 128 x 3 each. */
  readonly pictures: readonly Uint8Array[];
  readonly columns: number;
}

export interface Findings {
  /** What the samples are, in words for the page. */
  readonly about?: string | undefined;
  readonly measures: readonly Measure[];
  readonly exhibits: readonly Exhibit[];
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** A measure with a goal in numbers. */
export function judged(
  name: string,
  { seen, goal, samples, text }: { seen: number; goal: number; samples: number; text?: string },
): Measure {
  if (samples === 0) return { name, goal: percent(goal), seen: 'no picture asked', samples, verdict: 'not measured' };
  return { name, goal: percent(goal), seen: text ?? percent(seen), samples, verdict: seen >= goal ? 'met' : 'missed' };
}

export function missing(name: string, goal: string, what: string): Measure {
  return { name, goal, seen: `${what} is not shipped`, samples: 0, verdict: 'not measured' };
}
