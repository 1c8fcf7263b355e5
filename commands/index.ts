import { cancel } from './cancel.ts';
import type { Command } from './command.ts';
import { concepts } from './concepts.ts';
import { helpAbout } from './help.ts';
import { imagine } from './imagine.ts';
import { settings } from './settings.ts';
import { sketch } from './sketch.ts';
import { status } from './status.ts';
import { teach } from './teach.ts';

const OTHERS: readonly Command[] = [imagine, sketch, teach, concepts, status, cancel, settings];

/** Every slash command, in the order in which people meet them. */
export const COMMANDS: readonly Command[] = [...OTHERS, helpAbout(OTHERS)];
