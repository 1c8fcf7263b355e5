/** Deliveries by HTTP, signed as Slack signs them. */
import { createHmac } from 'node:crypto';
import type { Delivery } from './payloads.ts';

export const SIGNING_SECRET = 'a-signing-secret';

/** @returns what the app acknowledged with: JSON, or a text */
export async function deliverByHttp(target: string, { type, payload }: Delivery): Promise<unknown> {
  const body = bodyOf({ type, payload });
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature = createHmac('sha256', SIGNING_SECRET).update(`v0:${timestamp}:${body}`).digest('hex');
  const response = await fetch(target, {
    method: 'POST',
    body,
    headers: {
      'content-type': type === 'events_api' ? 'application/json' : 'application/x-www-form-urlencoded',
      'x-slack-request-timestamp': timestamp,
      'x-slack-signature': `v0=${signature}`,
    },
  });
  if (!response.ok) throw new Error(`The bot answered ${response.status}`);
  const text = await response.text();
  return text.startsWith('{') ? JSON.parse(text) : text;
}

function bodyOf({ type, payload }: Delivery): string {
  if (type === 'events_api') return JSON.stringify(payload);
  const form = type === 'slash_commands' ? (payload as Record<string, string>) : { payload: JSON.stringify(payload) };
  return new URLSearchParams(form).toString();
}
