import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { input } from '../../graph/operators.ts';
import { Scope } from '../../graph/scope.ts';
import { parametersOf, type Value } from '../../graph/value.ts';
import { openCheckpoint } from '../../runtime/checkpoint.ts';
import { compile } from '../../runtime/compile.ts';
import { loadTensor, readSafetensorsHeader, saveSafetensors, type TensorToSave } from '../../runtime/safetensors.ts';
import type { Session, SessionOptions } from '../../runtime/session.ts';
import { type PartLesson, runPart, type Weights } from '../making/run-part.ts';

export type JudgeName = 'picture-judge' | 'map-reader';

/** Shipped with the evaluation, float16. */
const FOLDER = join(dirname(fileURLToPath(import.meta.url)), 'weights');

export function judgeFile(name: JudgeName): string {
  return join(FOLDER, `${name}.safetensors`);
}

export interface TrainJudgeOptions {
  /** Whether the first of the rounds goes on from the weights that are saved. */
  readonly goesOn: boolean;
  readonly session: SessionOptions;
  readonly workFolder: string;
  readonly onProgress: Parameters<typeof runPart>[1]['onProgress'];
}

/** Trains a judge on the renderer's pictures round by round, going on from its newest checkpoint, and saves its weights. */
export async function trainJudge(
  name: JudgeName,
  rounds: readonly ((start: Weights | undefined) => PartLesson)[],
  { workFolder, goesOn, ...options }: TrainJudgeOptions,
): Promise<void> {
  let learned: Weights | undefined = goesOn ? await savedWeights(name) : undefined;
  for (const describe of rounds) {
    const part = describe(learned);
    const checkpointFolder = join(workFolder, part.key.replaceAll(' ', '-'));
    const { trained } = await runPart(part, { ...options, checkpointFolder, minutes: undefined });
    await saveSafetensors(judgeFile(name), namedTensors(part, trained));
    learned = trained;
  }
}

async function savedWeights(name: JudgeName): Promise<Weights> {
  const { tensors } = await readSafetensorsHeader(judgeFile(name));
  const weights = new Map<string, Float32Array>();
  for (const stored of tensors.values()) weights.set(stored.name, await loadTensor(stored));
  return weights;
}

function namedTensors({ lesson }: PartLesson, trained: Weights): [string, TensorToSave][] {
  return lesson.trainables.map(({ name, shape }) => {
    const values = trained.get(name);
    if (values === undefined) throw new Error(`Cannot save the judge: it must have learned ${name}, got nothing`);
    return [name, { dtype: 'F16', shape, values }];
  });
}

/** A network of one input, `picture` [1, 3, side, side], with the shipped weights; must be disposed of. */
export async function openJudge<Outputs extends { readonly [K in keyof Outputs]: Value }>(
  name: JudgeName,
  describe: (scope: Scope, picture: Value) => Outputs,
  { side, ...session }: SessionOptions & { side: number },
): Promise<Session> {
  const picture = input('picture', { shape: [1, 3, side, side], dtype: 'float32' });
  const outputs = describe(new Scope({ name, dtype: 'float32' }), picture);
  const values = Object.fromEntries(Object.entries<Value>(outputs));
  const { tensors } = await readSafetensorsHeader(judgeFile(name));
  const expected = parametersOf(Object.values(values)).get(name) ?? new Map<string, readonly number[]>();
  const checkpoint = openCheckpoint({ folder: FOLDER, variant: undefined, tensors }, { expected });
  return compile(values, { ...session, checkpoints: { [name]: checkpoint } });
}
