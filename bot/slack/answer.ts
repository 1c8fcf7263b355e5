/** Shows people what came of what they asked. */
import type { ModalView } from '@slack/types';
import type { Actor, Place } from '../../shared/jobs.ts';
import { sayFailure } from '../failure.ts';
import { type Acknowledgement, PermanentPostError, type Reply } from '../platform.ts';
import { sayPrivately } from '../wording.ts';
import { request, slackError } from './api-errors.ts';
import type { Bridge } from './bridge.ts';
import { formFrom } from './forms.ts';
import { toMessage } from './message.ts';
import { sendDirect } from './posts.ts';

/** Who asked, and where. */
export interface Asked {
  readonly actor: Actor;
  readonly place: Place;
  /** Of the delivery, which leads to the log. */
  readonly id: string;
  /** Lets a form be opened, within 3 seconds. */
  readonly triggerId?: string | undefined;
}

/** Does the work and shows its outcome; what fails is said to the person alone. */
export async function answer(bridge: Bridge, asked: Asked, work: () => Promise<Acknowledgement>): Promise<void> {
  const outcome = await work().catch((error: unknown) => sayFailure(bridge.log, asked.id, error));
  try {
    await show(bridge, asked, outcome);
  } catch (error) {
    if (!(error instanceof PermanentPostError)) throw error;
    await tell(bridge, asked, sayPrivately(error.message));
  }
}

async function show(bridge: Bridge, asked: Asked, outcome: Acknowledgement): Promise<void> {
  if (outcome.kind === 'silence') return;
  if (outcome.kind === 'form') return showForm(bridge, asked, formFrom(outcome.form, asked.place));
  const { reply, jobId } = outcome;
  if (reply.isPrivate) return tell(bridge, asked, reply);
  const { channelId, threadId } = asked.place;
  const posted = await request('answer here', () =>
    bridge.client.chat.postMessage({
      channel: channelId,
      ...(threadId !== undefined && { thread_ts: threadId }),
      ...toMessage(reply, { isMentioning: true }),
      unfurl_links: false,
      unfurl_media: false,
    }),
  );
  if (jobId === undefined) return;
  await bridge.inbox.acknowledged(jobId, {
    platform: 'slack',
    channelId: posted.channel!,
    messageId: posted.ts!,
    ...(threadId !== undefined && { threadId }),
  });
}

/** Opens a form while the person's click allows it; after that only a new click can. */
export async function showForm(bridge: Bridge, asked: Asked, view: ModalView): Promise<void> {
  if (asked.triggerId === undefined) {
    return tell(bridge, asked, sayPrivately('A form opens from a button only: press **Edit** under the picture'));
  }
  try {
    await bridge.client.views.open({ trigger_id: asked.triggerId, view });
  } catch (error) {
    if (!LATE.has(slackError(error) ?? '')) throw error;
    await tell(bridge, asked, sayPrivately('That took too long for Slack to open a form: try again'));
  }
}

const LATE = new Set(['expired_trigger_id', 'exchanged_trigger_id', 'trigger_expired', 'trigger_exchanged']);

/** Says something to one person where they are, or in a direct message where the bot is not in the channel. */
export async function tell(bridge: Bridge, { actor, place }: Asked, reply: Reply): Promise<void> {
  const { channelId, threadId } = place;
  try {
    await bridge.client.chat.postEphemeral({
      channel: channelId,
      user: actor.userId,
      ...(threadId !== undefined && { thread_ts: threadId }),
      ...toMessage(reply),
    });
  } catch (error) {
    if (slackError(error) === undefined) throw error;
    await sendDirect(bridge, actor.userId, reply);
  }
}
