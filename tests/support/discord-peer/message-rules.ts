/** What Discord demands of a message beyond the shapes that its description states. */
import { type APIAttachment, type APIMessageTopLevelComponent, ComponentType, MessageFlags } from 'discord.js';
import { apiError } from './api-error.ts';
import type { SentFile } from './request-body.ts';

export interface MessageBody {
  readonly content?: string | null;
  readonly embeds?: readonly unknown[] | null;
  readonly components?: readonly APIMessageTopLevelComponent[] | null;
  readonly attachments?: readonly { readonly id: string; readonly filename?: string; readonly description?: string }[];
  readonly flags?: number | null;
  readonly allowed_mentions?: { readonly parse?: readonly string[]; readonly users?: readonly string[] } | null;
  readonly message_reference?: { readonly message_id?: string } | null;
  readonly nonce?: string | number | null;
  readonly enforce_nonce?: boolean | null;
}

const MAX_CONTENT = 2000;
const MAX_TEXT_DISPLAYS = 4000;
const MAX_COMPONENTS = 40;
const MAX_BUTTONS_IN_ROW = 5;
const MAX_ROWS = 5;

/**
 * Checks a message that was sent.
 * @param before  flags of the message that is edited
 * @throws ApiError that says what Discord would refuse
 */
export function checkMessage(
  body: MessageBody,
  {
    files,
    attachments,
    before = 0,
  }: { files: readonly SentFile[]; attachments: readonly APIAttachment[]; before?: number },
): void {
  const problems: string[] = [];
  const isV2 = (((body.flags ?? 0) | before) & MessageFlags.IsComponentsV2) !== 0;
  const components = body.components ?? [];
  const all = components.flatMap(flatten);
  if (isV2) problems.push(...problemsOfV2(body, all, attachments));
  else problems.push(...problemsOfClassic(body, components));
  for (const row of all) {
    if (row.type === ComponentType.ActionRow && row.components.length > MAX_BUTTONS_IN_ROW) {
      problems.push(`components: a row has at most ${MAX_BUTTONS_IN_ROW} buttons, got ${row.components.length}`);
    }
  }
  const ids = all.flatMap((component) => ('custom_id' in component ? [component.custom_id] : []));
  if (new Set(ids).size < ids.length) problems.push('components: custom_id must not be duplicated');
  const listed = new Set((body.attachments ?? []).map((attachment) => attachment.id));
  for (const file of files) {
    if (body.attachments !== undefined && !listed.has(String(file.index)))
      problems.push(`attachments: files[${file.index}] is not listed`);
  }
  if (problems.length > 0) throw apiError('invalidFormBody', problems);
  const isEmpty = !body.content && all.length === 0 && files.length === 0 && attachments.length === 0;
  if (isEmpty) throw apiError('emptyMessage');
}

function problemsOfV2(
  body: MessageBody,
  all: readonly AnyComponent[],
  attachments: readonly APIAttachment[],
): string[] {
  const problems: string[] = [];
  if (body.content || (body.embeds ?? []).length > 0)
    problems.push('content, embeds: cannot be used with MessageFlags.IS_COMPONENTS_V2');
  if (all.length > MAX_COMPONENTS) problems.push(`components: at most ${MAX_COMPONENTS} in all, got ${all.length}`);
  const length = all.reduce(
    (sum, part) => sum + (part.type === ComponentType.TextDisplay ? part.content.length : 0),
    0,
  );
  if (length > MAX_TEXT_DISPLAYS)
    problems.push(`components: at most ${MAX_TEXT_DISPLAYS} characters of text, got ${length}`);
  const referenced = new Set(all.flatMap(mediaOf));
  const names = new Set(attachments.map((attachment) => `attachment://${attachment.filename}`));
  for (const url of referenced) {
    if (url.startsWith('attachment://') && !names.has(url)) problems.push(`components: no attachment for ${url}`);
  }
  for (const name of names) {
    if (!referenced.has(name)) problems.push(`attachments: ${name} must be referenced by a component`);
  }
  return problems;
}

function problemsOfClassic(body: MessageBody, components: readonly APIMessageTopLevelComponent[]): string[] {
  const problems: string[] = [];
  if ((body.content ?? '').length > MAX_CONTENT) problems.push(`content: must be ${MAX_CONTENT} or fewer in length`);
  if (components.length > MAX_ROWS) problems.push(`components: at most ${MAX_ROWS} rows, got ${components.length}`);
  const others = components.filter((component) => component.type !== ComponentType.ActionRow);
  if (others.length > 0) problems.push('components: only rows without MessageFlags.IS_COMPONENTS_V2');
  return problems;
}

function mediaOf(part: AnyComponent): string[] {
  if (part.type === ComponentType.MediaGallery) return part.items.map((item) => item.media.url);
  if (part.type !== ComponentType.Section || part.accessory.type !== ComponentType.Thumbnail) return [];
  return [part.accessory.media.url];
}

type AnyComponent = APIMessageTopLevelComponent | { readonly type: ComponentType.Button; readonly custom_id?: string };

function flatten(component: APIMessageTopLevelComponent): AnyComponent[] {
  if ('components' in component) {
    return [component, ...(component.components as readonly APIMessageTopLevelComponent[]).flatMap(flatten)];
  }
  return [component];
}

/** Everything that a message says, in the order in which it is read. */
export function textOf(body: {
  content?: string | null;
  components?: readonly APIMessageTopLevelComponent[] | null;
}): string {
  const displays = (body.components ?? [])
    .flatMap(flatten)
    .flatMap((part) => (part.type === ComponentType.TextDisplay ? [part.content] : []));
  return [body.content ?? '', ...displays].filter((text) => text !== '').join('\n');
}

/** Whom a message notifies: named in it and allowed. */
export function notifiedBy(body: MessageBody): readonly string[] {
  const text = textOf(body);
  const named = [...text.matchAll(/<@!?(\d+)>/g)].map((match) => match[1]!);
  const allowed = body.allowed_mentions;
  if (/@everyone|@here/.test(text) && (allowed?.parse ?? ['everyone']).includes('everyone')) return ['everyone'];
  if (allowed === undefined || allowed === null || allowed.parse?.includes('users')) return named;
  return named.filter((id) => allowed.users?.includes(id));
}
