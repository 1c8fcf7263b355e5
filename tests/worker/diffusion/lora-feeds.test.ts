import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type AppliedLora, loraFeeds } from '../../../worker/diffusion/lora-feeds.ts';
import { loadLoraFile } from '../../../worker/diffusion/lora-file.ts';
import type { LoraModule, LoraTarget } from '../../../worker/diffusion/lora-names.ts';
import { parseClipTextConfig } from '../../../worker/networks/clip.ts';
import { describeDenoiser } from '../../../worker/networks/denoiser.ts';
import type { LoraSlot } from '../../../worker/networks/lora-inputs.ts';
import { describeTextEncoder } from '../../../worker/networks/text-encoder-graph.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { saveSafetensors, type TensorToSave } from '../../../worker/runtime/safetensors.ts';
import { float32Tensor, int64Tensor, type Tensor } from '../../../worker/runtime/session.ts';
import { expectGolden, type GoldenStatistics, goldenStream, loadGolden } from '../../support/golden.ts';
import { compileTiny, floats, goldenInput, temporaryFolder, tinyConfigs } from '../../support/tiny-models.ts';

// diffusers 0.40.0.dev0 with peft, torch 2.13 CPU fp32; the rows "manual" are weights merged by hand.
const TOLERANCE = 1e-4;
let golden: Record<string, GoldenStatistics>;
beforeAll(async () => {
  golden = await loadGolden('lora.json');
});

const IDS = [118, 5, 17, 99, 3, 64, ...Array<number>(71).fill(119)];

function unet() {
  return describeDenoiser({
    unet: parseUnetConfig(tinyConfigs['unet-sd1']),
    isGuided: false,
    dtype: 'float32',
    vaeScaleFactor: 8,
    takesLora: true,
  });
}

function textEncoder() {
  const config = parseClipTextConfig(tinyConfigs['clip-quickgelu']);
  return describeTextEncoder(config, { component: 'text_encoder', dtype: 'float32', takesLora: true });
}

const unetFeeds: Record<string, Tensor> = {
  sample: goldenInput('sample', [2, 4, 8, 8]),
  timestep: float32Tensor(Float32Array.of(3, 701), [2]),
  encoder_hidden_states: goldenInput('ctx', [2, 77, 12]),
};

const textFeeds: Record<string, Tensor> = {
  input_ids: int64Tensor(IDS, [1, 77]),
  inverted_table: float32Tensor(new Float32Array(12), [1, 12]),
  inverted_rows: int64Tensor(Array(77).fill(0), [1, 77]),
  is_inverted: { dtype: 'bool', data: new Uint8Array(77), dims: [1, 77, 1] },
  hidden_state_index: int64Tensor([3], [1]),
};

const modulesOf = (slots: readonly LoraSlot[]): LoraModule[] =>
  slots.map(({ component, path, weightShape }) => ({ target: component as LoraTarget, path, weightShape }));

/** A LoRA tensor of the golden runs: hash of `lora:` and the key, variance 1 / fan-in. */
function loraTensor(key: string, shape: readonly number[]): TensorToSave {
  const count = shape.reduce((product, size) => product * size, 1);
  const scale = Math.sqrt(3 / (count / shape[0]!));
  return {
    dtype: 'F32',
    shape,
    values: Float32Array.from(goldenStream(`lora:${key}`, count), (value) => scale * value),
  };
}

async function loadGoldenLora(
  modules: readonly LoraModule[],
  tensors: [string, TensorToSave][],
  scale = 1,
): Promise<AppliedLora> {
  const file = join(await temporaryFolder(), 'lora.safetensors');
  await saveSafetensors(file, tensors);
  return { weights: await loadLoraFile(file, modules), scale };
}

/** Rank 2 without alpha on the attention projections, in diffusers' spelling. */
function diffusersTensors(modules: readonly LoraModule[]): [string, TensorToSave][] {
  const targets = /\.(to_q|to_k|to_v|to_out\.0|q_proj|k_proj|v_proj|out_proj)$/;
  return modules
    .filter(({ path }) => targets.test(path))
    .flatMap(({ target, path, weightShape: [out, features] }) => {
      const stem = target === 'unet' ? `unet.${path}.lora` : `text_encoder.${path}.lora_linear_layer`;
      const keys = [`${stem}.down.weight`, `${stem}.up.weight`] as const;
      return [
        [keys[0], loraTensor(keys[0], [2, features!])],
        [keys[1], loraTensor(keys[1], [out!, 2])],
      ] as [string, TensorToSave][];
    });
}

/** Rank 4 with alpha 2 on every linear layer of transformers and text encoder, in kohya's spelling. */
function kohyaTensors(modules: readonly LoraModule[]): [string, TensorToSave][] {
  return modules
    .filter(({ target, path }) => target !== 'unet' || path.includes('.attentions.'))
    .flatMap(({ target, path, weightShape: [out, features] }) => {
      const stem = `${target === 'unet' ? 'lora_unet_' : 'lora_te_'}${path.replaceAll('.', '_')}`;
      const isPointwise = /proj_(in|out)$/.test(path);
      const ones = isPointwise && target === 'unet' ? [1, 1] : [];
      const alpha: TensorToSave = { dtype: 'F32', shape: [], values: Float32Array.of(2) };
      const keys = [`${stem}.lora_down.weight`, `${stem}.lora_up.weight`] as const;
      return [
        [`${stem}.alpha`, alpha],
        [keys[0], loraTensor(keys[0], [4, features!, ...ones])],
        [keys[1], loraTensor(keys[1], [out!, 4, ...ones])],
      ] as [string, TensorToSave][];
    });
}

async function runUnet(makeLora: (modules: LoraModule[]) => Promise<AppliedLora[]>): Promise<Float32Array> {
  const { noisePred, loraSlots } = unet();
  const session = await compileTiny({ out: noisePred });
  const loras = await makeLora(modulesOf(loraSlots));
  return floats((await session.run({ ...unetFeeds, ...loraFeeds(loraSlots, loras) }))['out']);
}

async function runTextEncoder(makeLora: (modules: LoraModule[]) => Promise<AppliedLora>): Promise<Float32Array> {
  const { outputs, loraSlots } = textEncoder();
  const session = await compileTiny({ out: outputs.last_hidden_state, chosen: outputs.hidden_state });
  const lora = await makeLora(modulesOf(loraSlots));
  return floats((await session.run({ ...textFeeds, ...loraFeeds(loraSlots, [lora]) }))['out']);
}

describe('LoRA matches diffusers', () => {
  test('in diffusers spelling on the UNet', async () => {
    const result = await runUnet(async (modules) => [await loadGoldenLora(modules, diffusersTensors(modules))]);
    expectGolden(result, golden['lora-A unet-sd1 scale1']!, TOLERANCE);
  });

  test('at half its scale', async () => {
    const result = await runUnet(async (modules) => [await loadGoldenLora(modules, diffusersTensors(modules), 0.5)]);
    expectGolden(result, golden['lora-A unet-sd1 scale .5']!, TOLERANCE);
  });

  test('in diffusers spelling on the text encoder', async () => {
    const result = await runTextEncoder((modules) => loadGoldenLora(modules, diffusersTensors(modules)));
    expectGolden(result, golden['lora-A clip last_hidden']!, TOLERANCE);
  });

  test('in kohya spelling with alpha on the UNet', async () => {
    const result = await runUnet(async (modules) => [await loadGoldenLora(modules, kohyaTensors(modules))]);
    expectGolden(result, golden['lora-kohya unet-sd1 (alpha 2, dim 4)']!, TOLERANCE);
    expectGolden(result, golden['manual kohya unet']!, TOLERANCE);
  });

  test('in kohya spelling with alpha on the text encoder', async () => {
    const result = await runTextEncoder((modules) => loadGoldenLora(modules, kohyaTensors(modules)));
    expectGolden(result, golden['manual kohya clip']!, TOLERANCE);
  });
});

describe('LoRA in one session', () => {
  test('is off, on, changed and off again without a rebuild', async () => {
    const { noisePred, loraSlots } = unet();
    const session = await compileTiny({ out: noisePred });
    const modules = modulesOf(loraSlots);
    const first = await loadGoldenLora(modules, diffusersTensors(modules));
    const second = await loadGoldenLora(modules, kohyaTensors(modules));
    const run = async (...loras: AppliedLora[]) =>
      floats((await session.run({ ...unetFeeds, ...loraFeeds(loraSlots, loras) }))['out']);
    const off = await run();
    expectGolden(await run(first), golden['lora-A unet-sd1 scale1']!, TOLERANCE);
    expectGolden(await run(second), golden['lora-kohya unet-sd1 (alpha 2, dim 4)']!, TOLERANCE);
    expect(await run()).toEqual(off);
  });

  test('two at a quarter each equal one at half, also with convolutions', async () => {
    const convolutions = (modules: readonly LoraModule[]) =>
      modules
        .filter(({ weightShape }) => weightShape.length === 4)
        .flatMap(({ path, weightShape: [out, ...kernel] }): [string, TensorToSave][] => {
          const stem = `lora_unet_${path.replaceAll('.', '_')}`;
          return [
            [`${stem}.lora_down.weight`, loraTensor(`${stem}.lora_down.weight`, [3, ...kernel])],
            [`${stem}.lora_up.weight`, loraTensor(`${stem}.lora_up.weight`, [out!, 3, 1, 1])],
          ];
        });
    const quarter = (modules: LoraModule[]) => loadGoldenLora(modules, convolutions(modules), 0.25);
    const twice = await runUnet(async (modules) => [await quarter(modules), await quarter(modules)]);
    const once = await runUnet(async (modules) => [await loadGoldenLora(modules, convolutions(modules), 0.5)]);
    const none = await runUnet(async () => []);
    const distance = (a: Float32Array, b: Float32Array) =>
      Math.sqrt(a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0) / a.length);
    expect(distance(twice, once)).toBeLessThan(1e-5);
    expect(distance(none, once)).toBeGreaterThan(0.01);
  });
});
