/** A form on the screen, or the button that opens it, named after the draft that it belongs to. */
export type FormPart = 'form' | 'open-form';

export function encodeForm(part: FormPart, draftId: string): string {
  return `${part}:${draftId}`;
}

export function decodeForm(part: FormPart, customId: string): string | undefined {
  return customId.startsWith(`${part}:`) ? customId.slice(part.length + 1) : undefined;
}
