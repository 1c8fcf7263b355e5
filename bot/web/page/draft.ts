/** What is being written: plain words, or a command with its options, as the composer holds it. */
import { signal } from '@preact/signals';
import type { CommandOption, OptionValue } from '../../../commands/command.ts';
import type { BlobRef } from '../../../shared/jobs.ts';
import type { Form } from '../../platform.ts';
import type { WireCommand } from '../wire.ts';
import { api, blobUrl, newId } from './api.ts';
import { channelId, ready, showToast } from './store.ts';
import type { Sketch } from './strokes.ts';

export interface DraftImage {
  readonly key: string;
  readonly name: string;
  readonly url: string;
  /** Undefined while it travels. */
  readonly blob?: BlobRef;
  readonly problem?: string;
  /** Where it was drawn here, so that one can draw on. */
  readonly sketch?: Sketch;
}

export interface Draft {
  readonly command: WireCommand;
  readonly values: Readonly<Record<string, OptionValue>>;
  readonly images: Readonly<Record<string, readonly DraftImage[]>>;
  /** Options that are not required and have a field all the same. */
  readonly shown: ReadonlySet<string>;
  readonly parentJobId?: string;
  readonly title?: string;
}

export const plainText = signal('');
export const draft = signal<Draft | undefined>(undefined);
export const draftError = signal<string | undefined>(undefined);
export const isSending = signal(false);
/** The command that was left unfinished. */
export const leftDraft = signal<Draft | undefined>(undefined);

/** Fields that a command opens with beside those that it needs. */
const OPEN_FIELDS: Readonly<Record<string, readonly string[]>> = {
  sketch: ['kind', 'strength'],
  teach: ['consent'],
  concepts: ['do', 'name', 'with', 'to'],
  settings: ['scope', 'model', 'steps', 'guidance', 'negative', 'max_count', 'max_steps', 'max_jobs', 'teach'],
  cancel: ['job'],
  help: ['command'],
};

export function commandNamed(name: string): WireCommand | undefined {
  return ready.value?.commands.find((command) => command.name === name);
}

export function beginCommand(command: WireCommand): void {
  draft.value = { command, values: {}, images: {}, shown: new Set(OPEN_FIELDS[command.name]) };
  draftError.value = undefined;
  plainText.value = '';
}

function endCommand(): void {
  draft.value = undefined;
  draftError.value = undefined;
}

/** Puts the command aside; it can be taken up again. */
export function leaveCommand(): void {
  const hasContent = [draft.value?.values, draft.value?.images].some((part) => Object.keys(part ?? {}).length > 0);
  leftDraft.value = hasContent ? draft.value : undefined;
  endCommand();
}

export function takeUpCommand(): void {
  draft.value = leftDraft.value;
  leftDraft.value = undefined;
}

/** Opens a form that the bot filled in. */
export function openForm(form: Form): void {
  const command = commandNamed(form.command);
  if (!command) return;
  const values: Record<string, OptionValue> = { ...form.hidden };
  for (const { option, value } of form.fields) if (value !== undefined) values[option.name] = value;
  const images = Object.fromEntries(
    Object.entries(form.images).map(([name, blobs]) => [name, blobs.map((blob) => keptImage(blob))]),
  );
  const shown = new Set([...Object.keys(values), ...(OPEN_FIELDS[command.name] ?? [])]);
  const { parentJobId, title } = form;
  draft.value = { command, values, images, shown, title, ...(parentJobId === undefined ? {} : { parentJobId }) };
  draftError.value = undefined;
}

function keptImage(blob: BlobRef): DraftImage {
  return { key: newId(), name: blob.name ?? 'picture', url: blobUrl(blob), blob };
}

export function setValue(name: string, value: OptionValue | undefined): void {
  change((old) => {
    const { [name]: _, ...rest } = old.values;
    return { ...old, values: value === undefined ? rest : { ...rest, [name]: value } };
  });
}

export function showField(name: string): void {
  change((old) => ({ ...old, shown: new Set([...old.shown, name]) }));
}

export function hideField(name: string): void {
  setValue(name, undefined);
  change((old) => ({ ...old, shown: new Set([...old.shown].filter((other) => other !== name)) }));
}

export function removeImage(option: string, key: string): void {
  changeImages(option, (images) => images.filter((image) => image.key !== key));
}

/** Pictures on their way. */
const uploads = new Set<Promise<unknown>>();

/** Puts files where the command has room for pictures; without a command, they begin a sketch. */
export function addFiles(files: readonly File[], wanted?: string): void {
  const pictures = files.filter((file) => file.type.startsWith('image/'));
  if (pictures.length < files.length) showToast('Only pictures can be used: PNG, JPEG or WebP');
  if (pictures.length === 0) return;
  const begun = draft.value ?? beginWithPictures(pictures.length);
  if (!begun) return;
  for (const file of pictures) {
    const option = roomFor(wanted);
    if (option) void addImage(option, file, file.name);
    else showToast('There is no room for another picture in this command');
  }
}

function beginWithPictures(count: number): Draft | undefined {
  const command = commandNamed(count >= 3 ? 'teach' : 'sketch');
  if (command) beginCommand(command);
  return draft.value;
}

function roomFor(wanted: string | undefined): string | undefined {
  const options = draft.value?.command.options.filter((option) => option.type === 'image') ?? [];
  const isFree = (option: Extract<CommandOption, { type: 'image' }>) =>
    (draft.value?.images[option.name]?.length ?? 0) < (option.maxCount ?? 1);
  return (options.find((option) => option.name === wanted && isFree(option)) ?? options.find(isFree))?.name;
}

/** Sends a picture to the store and holds its place meanwhile. */
export async function addImage(option: string, file: Blob, name: string, sketch?: Sketch): Promise<void> {
  const key = newId();
  const image: DraftImage = { key, name, url: URL.createObjectURL(file), ...(sketch ? { sketch } : {}) };
  showField(option);
  changeImages(option, (images) => [...images, image]);
  const upload = api.upload(file, name).then(
    (blob) => ({ blob }),
    (error: unknown) => ({ problem: error instanceof Error ? error.message : String(error) }),
  );
  uploads.add(upload);
  const outcome = await upload;
  uploads.delete(upload);
  changeImages(option, (images) => images.map((old) => (old.key === key ? { ...old, ...outcome } : old)));
}

/** Sends the draft once its pictures have arrived; it stays, with the reason, where it is refused. */
export async function sendDraft(): Promise<void> {
  if (!draft.value || isSending.value) return;
  isSending.value = true;
  draftError.value = undefined;
  try {
    await Promise.all(uploads);
    if (draft.value) await send(draft.value);
  } catch (error) {
    draftError.value = error instanceof Error ? error.message : String(error);
  } finally {
    isSending.value = false;
  }
}

async function send({ command, values, images, parentJobId }: Draft): Promise<void> {
  const filled = Object.entries(images).filter(([, list]) => list.length > 0);
  const broken = filled.flatMap(([, list]) => list).find((image) => image.problem);
  if (broken) throw new Error(broken.problem);
  const answer = await api.invoke(channelId.value, {
    id: newId(),
    command: command.name,
    options: values,
    images: Object.fromEntries(filled.map(([name, list]) => [name, list.flatMap(({ blob }) => blob ?? [])])),
    ...(parentJobId === undefined ? {} : { parentJobId }),
  });
  endCommand();
  leftDraft.value = undefined;
  if (answer.kind === 'form') openForm(answer.form);
}

function change(edit: (old: Draft) => Draft): void {
  if (draft.value) draft.value = edit(draft.value);
}

function changeImages(option: string, edit: (images: readonly DraftImage[]) => readonly DraftImage[]): void {
  change((old) => ({ ...old, images: { ...old.images, [option]: edit(old.images[option] ?? []) } }));
}
