/** What benchmarks share: SD 1.5's UNet with random weights, a process per case, and the machine's own limits. */
import { fork } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openNetwork } from '../diffusion/network-folder.ts';
import type { OnnxGraph } from '../graph/onnx-graph.ts';
import { encodeOnnxModel } from '../graph/onnx-model.ts';
import { saveRandomNetwork } from '../models/random-model.ts';
import { unetClass } from '../networks/network-classes.ts';
import { expectedTensors } from '../pipelines/model-tensors.ts';
import { RandomGenerator } from '../runtime/random.ts';
import { createSession, float32Tensor } from '../runtime/session.ts';

const UNET_CONFIG = { sample_size: 64, cross_attention_dim: 768 };

export interface BenchCases<Name extends string, Measurement> {
  /** Path of the benchmark's own file, which is started again for each case. */
  readonly script: string;
  readonly names: readonly Name[];
  /** Measures one case with the UNet in a folder; runs in a process of its own, so that its peak memory is its own. */
  readonly measure: (name: Name, unet: string) => Promise<Measurement>;
  readonly print: (results: Readonly<Record<Name, Measurement>>) => void;
}

/** Runs a benchmark: `--unet FOLDER` takes weights that are there, else random ones are made and removed. */
export async function runBench<Name extends string, Measurement>(
  args: string[],
  bench: BenchCases<Name, Measurement>,
): Promise<void> {
  const options = { case: { type: 'string' }, unet: { type: 'string' } } as const;
  const { case: wanted, unet: given } = parseArgs({ args, options }).values;
  const named = bench.names.find((known) => known === wanted);
  if (named !== undefined && given !== undefined) {
    process.send?.(await bench.measure(named, given));
    return;
  }
  const folder = given === undefined ? await mkdtemp(join(tmpdir(), 'sketchbooth-bench-')) : undefined;
  try {
    if (folder !== undefined) {
      console.error(`Making 3.4 GB of random weights in ${folder}`);
      const random = { dtype: 'F32', expectedTensors } as const;
      await saveRandomNetwork(folder, { config: UNET_CONFIG, className: 'UNet2DConditionModel' }, random);
    }
    await warmPageCache(given ?? folder!);
    const results: [Name, Measurement][] = [];
    for (const name of bench.names) {
      console.error(`Measuring ${name}`);
      results.push([name, await measureInChild(bench, name, given ?? folder!)]);
    }
    // Every name has been measured.
    bench.print(Object.fromEntries(results) as Record<Name, Measurement>);
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

function measureInChild<Name extends string, Measurement>(
  { script }: BenchCases<Name, Measurement>,
  name: Name,
  unet: string,
): Promise<Measurement> {
  return new Promise((resolve, reject) => {
    const child = fork(script, ['--case', name, '--unet', unet]);
    child.once('message', (message) => resolve(message as Measurement));
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`Cannot measure: the process for ${name} ended with code ${code}`)));
  });
}

/** Seconds of the fastest of several runs, after one that is not counted. */
export async function fastestOf(runs: number, run: () => Promise<unknown>): Promise<number> {
  await run();
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < runs; i++) {
    const started = performance.now();
    await run();
    best = Math.min(best, (performance.now() - started) / 1000);
  }
  return best;
}

/** Floating-point operations per second of a large float32 matrix product on all threads. */
export async function matrixProductPeak(): Promise<number> {
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
  const seconds = await fastestOf(8, () => session.run({ a: matrix, b: matrix }));
  await session.dispose();
  return (2 * size ** 3) / seconds;
}

/** The largest resident size that the process has had, in bytes. */
export async function peakMemory(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => undefined);
  const line = status === undefined ? undefined : /VmHWM:\s+(\d+) kB/.exec(status);
  // Elsewhere than on Linux the operating system reports it here, in KiB.
  return 1024 * (line ? Number(line[1]) : process.resourceUsage().maxRSS);
}
