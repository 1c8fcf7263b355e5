/**
 * Measures a UNet step of SD 1.5 at 512 x 512 with guidance: batch 2, latents 64 x 64, float32. Each lowering runs in a
 * process of its own, so that its peak memory is its own; weights are random and lie in a temporary folder.
 */
import { availableParallelism, cpus } from 'node:os';
import { loraFeeds } from '../diffusion/lora-feeds.ts';
import type { LoraWeights } from '../diffusion/lora-file.ts';
import { openNetwork } from '../diffusion/network-folder.ts';
import { describeDenoiser } from '../networks/denoiser.ts';
import type { LoraSlot } from '../networks/lora-inputs.ts';
import { unetClass } from '../networks/network-classes.ts';
import { compile, type LoweringName } from '../runtime/compile.ts';
import { RandomGenerator } from '../runtime/random.ts';
import { float32Tensor } from '../runtime/session.ts';
import { fastestOf, matrixProductPeak, peakMemory, runBench } from './bench-cases.ts';
import { runCommand } from './run-command.ts';

/** Multiply-adds counted as two, of a batch of two. */
const STEP_FLOP = 2 * 0.803e12;
const STEPS = 4;
const LORA_RANK = 8;

interface Measurement {
  readonly peakFlops: number;
  readonly firstCreateSeconds: number;
  readonly createSeconds: number;
  readonly stepSeconds: number;
  readonly peakBytes: number;
  /** Seconds of a step with a LoRA on every attention projection, and to change from one LoRA to another. */
  readonly loraStepSeconds: number;
  readonly loraChangeSeconds: number;
}

const LOWERINGS = ['portable', 'cpu'] as const satisfies readonly LoweringName[];

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
  const create = async () => {
    const started = performance.now();
    const typicalSymbols = { height: 8, width: 8 };
    const options = { device: 'cpu', lowering, checkpoints: { unet: checkpoint }, typicalSymbols } as const;
    const session = await compile({ noise_pred: noisePred }, options);
    return { session, seconds: (performance.now() - started) / 1000 };
  };
  // The first reads weights from the disk where the operating system has dropped them from its cache.
  const first = await create();
  await first.session.dispose();
  const { session, seconds: createSeconds } = await create();
  const generator = new RandomGenerator(0);
  const feeds = {
    sample: float32Tensor(generator.randn(2 * 4 * 64 * 64), [2, 4, 64, 64]),
    timestep: float32Tensor(Float32Array.of(500, 500), [2]),
    encoder_hidden_states: float32Tensor(generator.randn(2 * 77 * 768), [2, 77, 768]),
  };
  const plain = { ...feeds, ...loraFeeds(loraSlots, []) };
  const stepSeconds = await fastestOf(STEPS, () => session.run(plain));
  const peakBytes = await peakMemory();
  const changed = performance.now();
  const lora = loraFeeds(loraSlots, [{ weights: randomLora(loraSlots, generator), scale: 1 }]);
  const loraChangeSeconds = (performance.now() - changed) / 1000;
  const loraStepSeconds = await fastestOf(STEPS, () => session.run({ ...feeds, ...lora }));
  await session.dispose();
  return {
    peakFlops,
    firstCreateSeconds: first.seconds,
    createSeconds,
    stepSeconds,
    peakBytes,
    loraStepSeconds,
    loraChangeSeconds,
  };
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

function printTable(results: Readonly<Record<(typeof LOWERINGS)[number], Measurement>>): void {
  const plain = results.portable;
  console.log(
    `SD 1.5, 512 x 512 with guidance (batch 2), float32, ${availableParallelism()} threads, ${cpus()[0]?.model}`,
  );
  for (const [name, result] of Object.entries(results)) {
    const { stepSeconds, peakFlops, firstCreateSeconds, createSeconds, peakBytes, loraStepSeconds, loraChangeSeconds } =
      result;
    console.log(`\n${name} lowering`);
    console.log(
      `  seconds per step             ${stepSeconds.toFixed(2)} (${(plain.stepSeconds / stepSeconds).toFixed(2)} times as fast as portable)`,
    );
    console.log(`  matrix-product peak          ${(peakFlops / 1e9).toFixed(0)} GFLOP/s`);
    console.log(
      `  share of the peak            ${((100 * STEP_FLOP) / stepSeconds / peakFlops).toFixed(0)} % of ${(STEP_FLOP / 1e12).toFixed(2)} TFLOP per step`,
    );
    console.log(
      `  session creation             ${createSeconds.toFixed(2)} s (the first one of the process ${firstCreateSeconds.toFixed(2)} s)`,
    );
    console.log(`  peak memory                  ${(peakBytes / 2 ** 30).toFixed(2)} GiB`);
    console.log(
      `  step with a LoRA of rank ${LORA_RANK}   ${loraStepSeconds.toFixed(2)} s (${(100 * (loraStepSeconds / stepSeconds - 1)).toFixed(1)} % more)`,
    );
    console.log(`  change of LoRA               ${(1000 * loraChangeSeconds).toFixed(0)} ms`);
  }
}

await runCommand((args) =>
  runBench(args, { script: import.meta.filename, names: LOWERINGS, measure, print: printTable }),
);
