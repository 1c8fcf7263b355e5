import { type FileHandle, mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';

const stepRecordSchema = z.object({
  kind: z.literal('step'),
  /** Counted from 1. */
  step: z.int(),
  loss: z.number(),
  learningRate: z.number(),
  /** L2 norm of all gradients before clipping; absent if the step was skipped because one of them was not finite. */
  gradNorm: z.number().optional(),
  /** Of the run that the step was part of, divided by its steps. */
  seconds: z.number(),
});
export type StepRecord = Readonly<z.infer<typeof stepRecordSchema>>;

const sampleRecordSchema = z.object({
  kind: z.literal('sample'),
  /** Steps that were done when the lesson was looked at; 0 is the model as it was. */
  step: z.int(),
  /** Paths from the folder of the lesson. */
  pictures: z.array(z.string()),
  /** Percent; see measureDrift. */
  drift: z.number().optional(),
  /** See LIKENESS_DEFINITION; undefined if nothing is known of step 0. */
  likeness: z.number().optional(),
  /** Between the features of pictures and photos; at step 0 it is what likeness is counted from. */
  distance: z.number().optional(),
  /** The same between the photos themselves. */
  photoSpread: z.number().optional(),
  seconds: z.number(),
});
export type SampleRecord = Readonly<z.infer<typeof sampleRecordSchema>>;

const recordSchema = z.discriminatedUnion('kind', [stepRecordSchema, sampleRecordSchema]);
export type LessonRecord = StepRecord | SampleRecord;

/**
 * What a lesson has written down, one JSON object a line, and the file that it goes on in. A process that is killed may
 * leave half a line, and lines of steps that its checkpoint does not know: opening removes both. Must be closed.
 */
export class LessonJournal {
  readonly #records: LessonRecord[];
  readonly #handle: FileHandle;

  private constructor(records: LessonRecord[], handle: FileHandle) {
    this.#records = records;
    this.#handle = handle;
  }

  /**
   * Opens the file of a lesson and removes what is written of steps after `step`, which are taken again.
   */
  static async open(file: string, step: number): Promise<LessonJournal> {
    await mkdir(dirname(file), { recursive: true });
    const records = (await readRecords(file)).filter((record) => record.step <= step);
    const partial = `${file}.partial`;
    await writeFile(partial, records.map(asLine).join(''), { flush: true });
    await rename(partial, file);
    return new LessonJournal(records, await open(file, 'a'));
  }

  get records(): readonly LessonRecord[] {
    return this.#records;
  }

  get steps(): readonly StepRecord[] {
    return this.#records.filter((record) => record.kind === 'step');
  }

  get samples(): readonly SampleRecord[] {
    return this.#records.filter((record) => record.kind === 'sample');
  }

  /** Writes records down; a process that is killed afterwards does not lose them. */
  async append(records: readonly LessonRecord[]): Promise<void> {
    await this.#handle.appendFile(records.map(asLine).join(''));
    this.#records.push(...records);
  }

  /** Returns when everything written down would survive a power cut. */
  async flush(): Promise<void> {
    await this.#handle.datasync();
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Reads a journal, also one that is being written; half a line is left out. An absent file has no records. */
export async function readRecords(file: string): Promise<LessonRecord[]> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  return text.split('\n').flatMap((line) => parseLine(line) ?? []);
}

function parseLine(line: string): LessonRecord | undefined {
  try {
    return recordSchema.safeParse(JSON.parse(line)).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function asLine(record: LessonRecord): string {
  return `${JSON.stringify(record)}\n`;
}
