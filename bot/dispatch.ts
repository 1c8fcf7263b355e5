/** Invocation to command to action to row: what the platforms call. */
import type { Invocation } from '../commands/command.ts';
import { UserError } from '../shared/errors.ts';
import { performAction } from './actions.ts';
import { complete } from './completions.ts';
import type { BotContext } from './context.ts';
import { commandContext, type Dispatch, enqueue } from './enqueue.ts';
import { watchLoad } from './load.ts';
import type { Acknowledgement, BotInbox } from './platform.ts';
import { press } from './presses.ts';
import { keepUpload } from './uploads.ts';
import { sayPrivately } from './wording.ts';

export function createInbox(dispatch: Dispatch): BotInbox {
  const { store, config, statements } = dispatch;
  const load = watchLoad();
  const answer = async (id: string, run: () => Promise<Acknowledgement>): Promise<Acknowledgement> =>
    load.isTooHigh() ? BUSY : load.during(() => forPerson(dispatch, id, run));
  return {
    invoke: (invocation) => answer(invocation.id, () => invoke(dispatch, invocation)),
    press: (pressed) => answer(pressed.id, () => press(dispatch, pressed)),
    complete: (source, typed, who) => complete(dispatch, { source, typed, ...who }),
    keepUpload: (bytes, name) => keepUpload(store, { bytes, name, maxBytes: config.maxUploadBytes }),
    readBlob: (blob) => store.get(blob),
    acknowledged: (jobId, message) => statements.saveAcknowledgement({ jobId, message }),
  };
}

/** Said at once: nothing was done, which is better than an answer that comes when nobody waits for it any more. */
const BUSY: Acknowledgement = {
  kind: 'message',
  reply: sayPrivately('Too many commands are coming in just now. Nothing was done; ask again in some seconds.'),
  isRefusal: true,
};

/** What a person can fix is said to them; anything else gets a number that leads to the log. */
async function forPerson(
  { log }: BotContext,
  id: string,
  run: () => Promise<Acknowledgement>,
): Promise<Acknowledgement> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof UserError) return { kind: 'message', reply: sayPrivately(error.message), isRefusal: true };
    log.error({ err: error, invocationId: id }, 'Cannot carry out a command');
    const text = `Something went wrong on our side. If you report it, give the number ${id}.`;
    return { kind: 'message', reply: sayPrivately(text) };
  }
}

async function invoke(dispatch: Dispatch, invocation: Invocation): Promise<Acknowledgement> {
  const command = dispatch.commands.find(({ name }) => name === invocation.command);
  if (!command) throw new UserError(`Cannot carry out /${invocation.command}: there is no such command`);
  if (command.isForAdministrators && !invocation.isAdministrator) {
    throw new UserError(`Cannot carry out /${command.name}: it is for administrators`);
  }
  const context = await commandContext(dispatch, invocation);
  const action = command.act(invocation, context);
  if (action.kind !== 'enqueue') return performAction(dispatch, { action, invocation, context });
  return enqueue(dispatch, { ...invocation, ...action, maxJobsPerUser: context.settings.maxJobsPerUser });
}
