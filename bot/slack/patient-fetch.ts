import { setTimeout as sleep } from 'node:timers/promises';

const MAX_WAITS = 5;
const LONGEST_WAIT_SECONDS = 60;

/**
 * Fetches, and waits where Slack says that it is too early. Such a call was not carried out, so it may be made again; one
 * whose answer was lost may have been, and is left to whoever made it.
 */
export async function patientFetch(...[input, init]: Parameters<typeof fetch>): Promise<Response> {
  for (let wait = 0; ; wait++) {
    const response = await fetch(input, init);
    const seconds = Number(response.headers.get('retry-after'));
    const isWorthIt = wait < MAX_WAITS && seconds > 0 && seconds <= LONGEST_WAIT_SECONDS;
    if (response.status !== 429 || !isWorthIt) return response;
    await response.body?.cancel();
    await sleep(seconds * 1000);
  }
}
