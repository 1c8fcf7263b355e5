/**
 * Measures a UNet step of SD 1.5 at 512 x 512 with guidance: batch 2, latents 64 x 64, float32. Each lowering runs in a
 * process of its own, so that its peak memory is its own; weights are random and lie in a temporary folder.
 */
import { fork } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loraFeeds } from '../diffusion/lora-feeds.ts';
import type { LoraWeights } from '../diffusion/lora-file.ts';
import { openNetwork } from '../diffusion/network-folder.ts';
import type { OnnxGraph } from '../graph/onnx-graph.ts';
import { encodeOnnxModel } from '../graph/onnx-model.ts';
import { saveRandomNetwork } from '../models/random-model.ts';
import { describeDenoiser } from '../networks/denoiser.ts';
import type { LoraSlot } from '../networks/lora-inputs.ts';
import { unetClass } from '../networks/network-classes.ts';
import { expectedTensors } from '../pipelines/model-tensors.ts';
import { compile, type LoweringName } from '../runtime/compile.ts';
import { RandomGenerator } from '../runtime/random.ts';
import { createSession, float32Tensor, type Session, type Tensor } from '../runtime/session.ts';
import { runCommand } from './run-command.ts';

const UNET_CONFIG = { sample_size: 64, cross_attention_dim: 768 };
/** Multiply-adds counted as two, of a batch of two. */
const STEP_FLOP = 2 * 0.803e12;
const STEPS = 4;
const LORA_RANK = 8;

interface Measurement {
  readonly peakFlops: number;
  readonly createSeconds: number;
  readonly stepSeconds: number;
  readonly peakBytes: number;
  /** Seconds of a step with a LoRA on every attention projection, and to change from one LoRA to another. */
  readonly loraStepSeconds: number;
  readonly loraChangeSeconds: number;
}

const LOWERINGS: readonly LoweringName[] = ['portable', 'cpu'];

async function main(args: string[]): Promise<void> {
  const { lowering, unet } = parseArgs({
    args,
    options: { lowering: { type: 'string' }, unet: { type: 'string' } },
  }).values;
  const named = LOWERINGS.find((known) => known === lowering);
  if (named !== undefined && unet !== undefined) {
    process.send?.(await measure(named, unet));
    return;
  }
  const folder = unet === undefined ? await mkdtemp(join(tmpdir(), 'sketchbooth-bench-')) : undefined;
  try {
    if (folder !== undefined) {
      console.error(`Making 3.4 GB of random weights in ${folder}`);
      const options = { dtype: 'F32', expectedTensors } as const;
      await saveRandomNetwork(folder, { config: UNET_CONFIG, className: 'UNet2DConditionModel' }, options);
    }
    await warmPageCache(unet ?? folder!);
    const results = new Map<LoweringName, Measurement>();
    for (const name of LOWERINGS) {
      console.error(`Measuring the ${name} lowering`);
      results.set(name, await measureInChild(name, unet ?? folder!));
    }
    printTable(results);
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true });
  }
}

/** Reads the weights once, so that session creation is not a measurement of the disk. */
async function warmPageCache(folder: string): Promise<void> {
  const { checkpoint } = await openNetwork(folder, unetClass);
  for (const file of new Set([...checkpoint.parameters.values()].map((parameter) => parameter.file))) {
    for await (const _ of createReadStream(file, { highWaterMark: 2 ** 22 }));
  }
}

function measureInChild(lowering: LoweringName, unet: string): Promise<Measurement> {
  return new Promise((resolve, reject) => {
    const child = fork(import.meta.filename, ['--lowering', lowering, '--unet', unet]);
    child.once('message', (message) => resolve(message as Measurement));
    child.once('error', reject);
    child.once('exit', (code) =>
      reject(new Error(`Cannot measure: the process for ${lowering} ended with code ${code}`)),
    );
  });
}

async function measure(lowering: LoweringName, folder: string): Promise<Measurement> {
  const peakFlops = await matrixProductPeak();
  const { config, checkpoint } = await openNetwork(folder, unetClass);
  const { noisePred, loraSlots } = describeDenoiser({
    unet: config,
    isGuided: true,
    dtype: 'float32',
    vaeScaleFactor: 8,
    latentMultiple: 8,
    takesLora: true,
  });
  const started = performance.now();
  const session = await compile(
    { noise_pred: noisePred },
    { device: 'cpu', lowering, checkpoints: { unet: checkpoint }, typicalSymbols: { height: 8, width: 8 } },
  );
  const createSeconds = (performance.now() - started) / 1000;
  const generator = new RandomGenerator(0);
  const feeds = {
    sample: float32Tensor(generator.randn(2 * 4 * 64 * 64), [2, 4, 64, 64]),
    timestep: float32Tensor(Float32Array.of(500, 500), [2]),
    encoder_hidden_states: float32Tensor(generator.randn(2 * 77 * 768), [2, 77, 768]),
  };
  const stepSeconds = await fastest(session, { ...feeds, ...loraFeeds(loraSlots, []) }, STEPS);
  const peakBytes = await peakMemory();
  const changed = performance.now();
  const lora = loraFeeds(loraSlots, [{ weights: randomLora(loraSlots, generator), scale: 1 }]);
  const loraChangeSeconds = (performance.now() - changed) / 1000;
  const loraStepSeconds = await fastest(session, { ...feeds, ...lora }, STEPS);
  await session.dispose();
  return { peakFlops, createSeconds, stepSeconds, peakBytes, loraStepSeconds, loraChangeSeconds };
}

/** Floating-point operations per second of a large float32 matrix product on all threads. */
async function matrixProductPeak(): Promise<number> {
  const size = 2048;
  const value = { dtype: 'float32', dims: [size, size] } as const;
  const graph: OnnxGraph = {
    name: 'peak',
    nodes: [{ opType: 'MatMul', domain: '', name: 'product', inputs: ['a', 'b'], outputs: ['c'], attributes: {} }],
    initializers: [],
    inputs: [
      { name: 'a', ...value },
      { name: 'b', ...value },
    ],
    outputs: [{ name: 'c', ...value }],
  };
  const session = await createSession(encodeOnnxModel(graph), { device: 'cpu' });
  const matrix = float32Tensor(new RandomGenerator(0).randn(size * size), [size, size]);
  const seconds = await fastest(session, { a: matrix, b: matrix }, 8);
  await session.dispose();
  return (2 * size ** 3) / seconds;
}

/** Seconds of the fastest of several runs, after one that is not counted. */
async function fastest(session: Session, feeds: Readonly<Record<string, Tensor>>, runs: number): Promise<number> {
  await session.run(feeds);
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < runs; i++) {
    const started = performance.now();
    await session.run(feeds);
    best = Math.min(best, (performance.now() - started) / 1000);
  }
  return best;
}

/** A LoRA on the attention projections that train_dreambooth_lora trains. */
function randomLora(slots: readonly LoraSlot[], generator: RandomGenerator): LoraWeights[] {
  return slots
    .filter(({ path }) => /attn\d\.to_(q|k|v|out\.0)$/.test(path))
    .map(({ path, weightShape: [out, features] }) => ({
      target: 'unet',
      path,
      rank: LORA_RANK,
      scale: 1,
      down: generator.randn(LORA_RANK * features!).map((value) => value / Math.sqrt(features!)),
      // Trained updates are small; large ones drive attention to infinities, which take several times as long.
      up: generator.randn(out! * LORA_RANK).map((value) => 0.02 * value),
    }));
}

/** The largest resident size that the process has had, in bytes. */
async function peakMemory(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => undefined);
  const line = status === undefined ? undefined : /VmHWM:\s+(\d+) kB/.exec(status);
  // Elsewhere than on Linux the operating system reports it here, in KiB.
  return 1024 * (line ? Number(line[1]) : process.resourceUsage().maxRSS);
}

function printTable(results: ReadonlyMap<LoweringName, Measurement>): void {
  const plain = results.get('portable')!;
  console.log(
    `SD 1.5, 512 x 512 with guidance (batch 2), float32, ${availableParallelism()} threads, ${cpus()[0]?.model}`,
  );
  for (const [name, result] of results) {
    const { stepSeconds, peakFlops, createSeconds, peakBytes, loraStepSeconds, loraChangeSeconds } = result;
    console.log(`\n${name} lowering`);
    console.log(
      `  seconds per step             ${stepSeconds.toFixed(2)} (${(plain.stepSeconds / stepSeconds).toFixed(2)} times as fast as portable)`,
    );
    console.log(`  matrix-product peak          ${(peakFlops / 1e9).toFixed(0)} GFLOP/s`);
    console.log(
      `  share of the peak            ${((100 * STEP_FLOP) / stepSeconds / peakFlops).toFixed(0)} % of ${(STEP_FLOP / 1e12).toFixed(2)} TFLOP per step`,
    );
    console.log(`  session creation             ${createSeconds.toFixed(2)} s`);
    console.log(`  peak memory                  ${(peakBytes / 2 ** 30).toFixed(2)} GiB`);
    console.log(
      `  step with a LoRA of rank ${LORA_RANK}   ${loraStepSeconds.toFixed(2)} s (${(100 * (loraStepSeconds / stepSeconds - 1)).toFixed(1)} % more)`,
    );
    console.log(`  change of LoRA               ${(1000 * loraChangeSeconds).toFixed(0)} ms`);
  }
}

await runCommand(main);
