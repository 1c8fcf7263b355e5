/**
 * Measures training of SD 1.5's UNet at 256 x 256: batch 1, latents 32 x 32, float32 on the CPU. Each case runs in a process
 * of its own, so that its peak memory is its own; weights are random and lie in a temporary folder.
 */

import { availableParallelism, cpus } from 'node:os';
import { UserError } from '../../shared/errors.ts';
import { openNetwork } from '../diffusion/network-folder.ts';
import { gradients } from '../graph/gradient.ts';
import { input, type LoraFactors, reshape, slice } from '../graph/operators.ts';
import { type Component, Scope } from '../graph/scope.ts';
import type { Value } from '../graph/value.ts';
import { unetClass } from '../networks/network-classes.ts';
import { unet } from '../networks/unet.ts';
import type { UnetConfig } from '../networks/unet-config.ts';
import { gibibytes } from '../pipelines/lesson-memory.ts';
import { availableMemory } from '../runtime/available-memory.ts';
import type { Checkpoint } from '../runtime/checkpoint.ts';
import { type CompileOptions, compile } from '../runtime/compile.ts';
import { elementCount } from '../runtime/element-count.ts';
import { RandomGenerator } from '../runtime/random.ts';
import { loadTensor } from '../runtime/safetensors.ts';
import { float32Tensor, type Session, type Tensor } from '../runtime/session.ts';
import { ADAMW_DEFAULTS, type Trainable } from '../training/adamw.ts';
import { createTrainer } from '../training/create-trainer.ts';
import { type DiffusionLoss, diffusionLoss, lossInputs } from '../training/diffusion-loss.ts';
import { estimateSteps, stepsBytes } from '../training/memory-estimate.ts';
import { initialState, type Lesson, Trainer } from '../training/trainer.ts';
import { fastestOf, matrixProductPeak, peakMemory, runBench } from './bench-cases.ts';
import { runCommand } from './run-command.ts';

const LATENT_SHAPE = [4, 32, 32] as const;
const CONTEXT_SHAPE = [1, 77, 768] as const;
const LORA_RANK = 4;
const STEPS_PER_RUN = 2;
const FULL_RATE = 5e-6;
const RUNS = 3;

/** Multiply-adds of a forward pass counted as two, of batch 1 at 32 x 32; a full backward pass takes twice as many. */
const FORWARD_FLOP = 0.18e12;

/** Forward plus full backward in PyTorch 2.13 on two cores of an Intel Xeon. */
const PYTORCH_SECONDS = 6.35;

interface Measurement {
  readonly peakFlops: number;
  readonly createSeconds: number;
  readonly stepSeconds: number;
  readonly peakBytes: number;
  /** What a lesson would have been said to need. */
  readonly estimatedBytes?: number;
}

type Timed = Omit<Measurement, 'peakFlops' | 'peakBytes'>;

interface Subject {
  readonly config: UnetConfig;
  readonly checkpoint: Checkpoint;
}

/** What is measured: each makes a session and says how long one step takes at best. */
const measurements = {
  forward: measureForward,
  lora: measureLora,
  full: measureFull,
  adamw: measureAdamw,
} satisfies Record<string, (subject: Subject) => Promise<Timed>>;
type CaseName = keyof typeof measurements;
const CASES = Object.keys(measurements) as CaseName[];

async function measure(name: CaseName, folder: string): Promise<Measurement> {
  const before = await matrixProductPeak();
  const result = await measurements[name](await openNetwork(folder, unetClass));
  const peakBytes = await peakMemory();
  // Measured on both sides: other work on the machine makes one of them too low.
  return { ...result, peakFlops: Math.max(before, await matrixProductPeak()), peakBytes };
}

async function measureForward({ config, checkpoint }: Subject): Promise<Timed> {
  const { loss } = describeLesson(config, {});
  const { session, createSeconds } = await create(() =>
    compile({ loss }, { device: 'cpu', checkpoints: { unet: checkpoint } }),
  );
  const stepSeconds = await fastest(session, stepFeeds());
  await session.dispose();
  return { createSeconds, stepSeconds };
}

/** AdamW steps of low-rank factors of the attention projections that train_dreambooth_lora trains, in a Loop. */
async function measureLora({ config, checkpoint }: Subject): Promise<Timed> {
  const trainables: Trainable[] = [];
  const lora = (path: string, [out, features]: readonly number[]): LoraFactors | undefined =>
    /attn\d\.to_(q|k|v|out\.0)$/.test(path)
      ? {
          down: trainable(trainables, `${path}.lora.down.weight`, [LORA_RANK, features!]),
          up: trainable(trainables, `${path}.lora.up.weight`, [out!, LORA_RANK]),
        }
      : undefined;
  const { loss, perStep } = describeLesson(config, { lora });
  const lesson = { trainables, loss, perStep, reported: {} };
  const options = { device: 'cpu', checkpoints: { unet: checkpoint } } as const;
  const estimatedBytes = estimateFor(lesson, options);
  const { session: trainer, createSeconds } = await create(() => Trainer.create(lesson, ADAMW_DEFAULTS, options));
  const generator = new RandomGenerator(1);
  const values = trainables.map(({ name, shape }): [string, Float32Array] => {
    const scale = name.includes('.up.') ? 0.01 : 1 / Math.sqrt(shape[1]!);
    return [name, generator.randn(elementCount(shape)).map((value) => scale * value)];
  });
  const state = initialState(trainables, new Map(values));
  const feeds = Array.from({ length: STEPS_PER_RUN }, stepFeeds);
  const runSeconds = await fastestOf(RUNS, () => trainer.run(state, feeds, Array(STEPS_PER_RUN).fill(1e-4)));
  await trainer.dispose();
  return { createSeconds, stepSeconds: runSeconds / STEPS_PER_RUN, estimatedBytes };
}

/** Forward and backward to every weight; one number of each gradient is read, for which all of it is computed. */
async function measureFull({ config, checkpoint }: Subject): Promise<Timed> {
  const trainables: Trainable[] = [];
  const substitute = (name: string, shape: readonly number[]) => trainable(trainables, name, shape);
  const { loss } = describeLesson(config, { substitute });
  const values = trainables.map(({ value }) => value);
  const outputs = gradients(loss, values).map((gradient, i): [string, Value] => {
    const vector = reshape(gradient, [elementCount(trainables[i]!.shape)]);
    return [`gradient:${trainables[i]!.name}`, slice(vector, 0, [0, 1])];
  });
  const { session, createSeconds } = await create(() =>
    compile({ loss, ...Object.fromEntries(outputs) }, { device: 'cpu', checkpoints: {} }),
  );
  const weights: Record<string, Tensor> = {};
  for (const { name, shape } of trainables) {
    const stored = checkpoint.parameters.get(name)!;
    weights[name] = float32Tensor(await loadTensor({ name, shape, ...stored }), shape);
  }
  const stepSeconds = await fastest(session, { ...stepFeeds(), ...weights });
  await session.dispose();
  return { createSeconds, stepSeconds };
}

/**
 * AdamW steps of every weight, as a lesson of all weights takes them: the optimizer runs on the host.
 * @throws UserError if that does not fit into memory
 */
async function measureAdamw({ config, checkpoint }: Subject): Promise<Timed> {
  const trainables: Trainable[] = [];
  const substitute = (name: string, shape: readonly number[]) => trainable(trainables, name, shape);
  const { loss, perStep } = describeLesson(config, { substitute });
  const lesson = { trainables, loss, perStep, reported: {} };
  const options = { device: 'cpu', checkpoints: {} } as const;
  const estimatedBytes = estimateFor(lesson, options);
  const free = await availableMemory();
  if (estimatedBytes > free) {
    throw new UserError(`Cannot measure: ${gibibytes(estimatedBytes)} must be free, got ${gibibytes(free)}`);
  }
  const { session: trainer, createSeconds } = await create(() => createTrainer(lesson, ADAMW_DEFAULTS, options));
  const values = new Map<string, Float32Array>();
  for (const { name, shape } of trainables) {
    values.set(name, await loadTensor({ name, shape, ...checkpoint.parameters.get(name)! }));
  }
  const state = initialState(trainables, values);
  values.clear();
  const stepSeconds = await fastestOf(RUNS, () => trainer.run(state, [stepFeeds()], [FULL_RATE]));
  await trainer.dispose();
  return { createSeconds, stepSeconds, estimatedBytes };
}

function estimateFor(lesson: Lesson, options: CompileOptions): number {
  return stepsBytes(estimateSteps(lesson, ADAMW_DEFAULTS, options));
}

function trainable(trainables: Trainable[], name: string, shape: readonly number[]): Value {
  const value = input(name, { shape, dtype: 'float32' });
  trainables.push({ name, shape, value });
  return value;
}

function describeLesson(config: UnetConfig, learning: Pick<Component, 'lora' | 'substitute'>): DiffusionLoss {
  const scope = new Scope({ name: 'unet', dtype: 'float32', ...learning });
  const encoderHiddenStates = input('encoder_hidden_states', { shape: CONTEXT_SHAPE, dtype: 'float32' });
  const predict = (sample: Value, timestep: Value) => unet(scope, config, { sample, timestep, encoderHiddenStates });
  const described = diffusionLoss({ batch: 1, latentShape: LATENT_SHAPE, target: 'epsilon', predict });
  return { ...described, perStep: [...described.perStep, encoderHiddenStates] };
}

function stepFeeds(): Record<string, Tensor> {
  const generator = new RandomGenerator(0);
  const random = (shape: readonly number[]) => float32Tensor(generator.randn(elementCount(shape)), shape);
  const same = (value: number, shape: readonly number[]) => float32Tensor(Float32Array.of(value), shape);
  return {
    [lossInputs.latents]: random([1, ...LATENT_SHAPE]),
    [lossInputs.noise]: random([1, ...LATENT_SHAPE]),
    [lossInputs.timestep]: same(500, [1]),
    [lossInputs.signal]: same(Math.SQRT1_2, [1, 1, 1, 1]),
    [lossInputs.sigma]: same(Math.SQRT1_2, [1, 1, 1, 1]),
    [lossInputs.weights]: same(1, [1]),
    encoder_hidden_states: random(CONTEXT_SHAPE),
  };
}

async function create<S>(make: () => Promise<S>): Promise<{ session: S; createSeconds: number }> {
  const started = performance.now();
  const session = await make();
  return { session, createSeconds: (performance.now() - started) / 1000 };
}

/** Seconds of the fastest of several runs, after one that is not counted; only what the loss asks for is fed. */
function fastest(session: Session, feeds: Readonly<Record<string, Tensor>>): Promise<number> {
  return fastestOf(RUNS, () => session.run(feeds));
}

function printTable(results: Readonly<Record<CaseName, Measurement>>): void {
  const { forward, lora, full, adamw } = results;
  const threads = availableParallelism();
  console.log(`Training of SD 1.5's UNet, 256 x 256, batch 1, float32, ${threads} threads, ${cpus()[0]?.model}`);
  printCase('Forward pass alone, weights frozen', forward, FORWARD_FLOP);
  printCase(`LoRA of rank ${LORA_RANK} on attention, AdamW, ${STEPS_PER_RUN} steps per run`, lora, 2 * FORWARD_FLOP);
  printRatios(lora, forward);
  printCase('All weights: forward and backward, no optimizer', full, 3 * FORWARD_FLOP);
  printRatios(full, forward);
  printCase('All weights with AdamW on the host', adamw, 3 * FORWARD_FLOP);
}

function printCase(title: string, measurement: Measurement, flop: number): void {
  const { stepSeconds, peakFlops, createSeconds, peakBytes, estimatedBytes } = measurement;
  const share = `${((100 * flop) / stepSeconds / peakFlops).toFixed(0)} % of ${(peakFlops / 1e9).toFixed(0)} GFLOP/s`;
  console.log(`\n${title}`);
  console.log(`  seconds per step             ${stepSeconds.toFixed(2)}`);
  console.log(`  matrix-product peak share    ${share}, for ${(flop / 1e12).toFixed(2)} TFLOP per step`);
  console.log(`  session creation             ${createSeconds.toFixed(2)} s`);
  const estimated = estimatedBytes === undefined ? '' : `, estimated ${gibibytes(estimatedBytes)}`;
  console.log(`  peak memory                  ${gibibytes(peakBytes)}${estimated}`);
}

function printRatios({ stepSeconds }: Measurement, forward: Measurement): void {
  console.log(`  times the forward pass       ${(stepSeconds / forward.stepSeconds).toFixed(2)}`);
  console.log(`  times PyTorch's full step    ${(stepSeconds / PYTORCH_SECONDS).toFixed(2)} (${PYTORCH_SECONDS} s)`);
}

await runCommand((args) => runBench(args, { script: import.meta.filename, names: CASES, measure, print: printTable }));
