/** What a check of the set-up found. */
export interface Finding {
  /** What was looked at, such as `Discord token`. */
  readonly subject: string;
  readonly isFine: boolean;
  readonly text: string;
  /** Exactly what to do; only where something is wrong. */
  readonly fix?: string;
}

/** A secret, so that its owner knows which one it is and nobody else can use it. */
export function maskSecret(secret: string): string {
  return secret.length < 16 ? '…' : `${secret.slice(0, 4)}…${secret.slice(-4)}`;
}
