/** Taught subjects by the names that people use for them. */
import { UserError } from '../shared/errors.ts';
import type { Actor, AppliedConcept } from '../shared/jobs.ts';
import { wholeWords } from '../shared/whole-words.ts';
import type { ConceptSummary } from './command.ts';
import { shown } from './read-options.ts';

/**
 * Finds the concepts that a prompt names: whole words, in any case, the longest name first where names overlap.
 * Of two concepts with one name, the person's own is meant.
 */
export function conceptsInPrompt(
  prompt: string,
  concepts: readonly ConceptSummary[],
  actor: Actor,
): readonly ConceptSummary[] {
  const byLength = ownFirst(concepts, actor).toSorted((a, b) => b.name.length - a.name.length);
  let rest = prompt;
  const found: ConceptSummary[] = [];
  for (const concept of byLength) {
    const withoutName = rest.replace(wholeWords(concept.name), ' \u0000 ');
    if (withoutName !== rest) found.push(concept);
    rest = withoutName;
  }
  return found;
}

/**
 * Finds a concept by its name, the person's own before one that was shared with them.
 * @throws UserError where no concept has the name
 */
export function conceptByName(
  doing: string,
  name: string,
  { concepts, actor }: { concepts: readonly ConceptSummary[]; actor: Actor },
): ConceptSummary {
  const found = ownFirst(concepts, actor).find((concept) => isSameName(concept.name, name));
  if (found) return found;
  const known = concepts.length === 0 ? 'none has been taught yet' : `there are ${listed(concepts)}`;
  throw new UserError(`Cannot ${doing}: the concept must be one that you can use here, got ${shown(name)} (${known})`);
}

export function isSameName(a: string, b: string): boolean {
  return a.trim().toLowerCase() === b.trim().toLowerCase();
}

export function isOwner(concept: ConceptSummary, actor: Actor): boolean {
  return concept.owner.platform === actor.platform && concept.owner.userId === actor.userId;
}

export function appliedConcept(concept: ConceptSummary, scale: number): AppliedConcept {
  const { id, name, promptText, kind, files } = concept;
  return { conceptId: id, name, promptText, kind, files, scale };
}

function ownFirst(concepts: readonly ConceptSummary[], actor: Actor): readonly ConceptSummary[] {
  return concepts.toSorted((a, b) => Number(isOwner(b, actor)) - Number(isOwner(a, actor)));
}

function listed(concepts: readonly ConceptSummary[]): string {
  const names = concepts.slice(0, 10).map((concept) => concept.name);
  return concepts.length > names.length ? `${names.join(', ')} and more` : names.join(', ');
}
