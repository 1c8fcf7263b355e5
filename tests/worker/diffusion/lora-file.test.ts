import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { loadLoraFile } from '../../../worker/diffusion/lora-file.ts';
import type { LoraModule, LoraTarget } from '../../../worker/diffusion/lora-names.ts';
import { saveSafetensors } from '../../../worker/runtime/safetensors.ts';
import { goldenTensor } from '../../support/golden.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lora-'));
});
afterEach(() => rm(folder, { recursive: true }));

const linear = (target: LoraTarget, path: string, out: number, input: number): LoraModule => ({
  target,
  path,
  weightShape: [out, input],
});

/** The Linear layers and 1x1 convolutions inside the attentions of the tiny `unet-sd1` of the golden runs. */
function unetModules(): LoraModule[] {
  const blocks = [
    ...[8, 16, 16].flatMap((c, i) => [0, 1].map((j) => ({ at: `down_blocks.${i}.attentions.${j}`, c }))),
    { at: 'mid_block.attentions.0', c: 16 },
    ...[16, 16, 8].flatMap((c, i) => [0, 1, 2].map((j) => ({ at: `up_blocks.${i + 1}.attentions.${j}`, c }))),
  ];
  return blocks.flatMap(({ at, c }) => {
    const block = `${at}.transformer_blocks.0`;
    const attention = (name: string, context: number) => [
      linear('unet', `${block}.${name}.to_q`, c, c),
      linear('unet', `${block}.${name}.to_k`, c, context),
      linear('unet', `${block}.${name}.to_v`, c, context),
      linear('unet', `${block}.${name}.to_out.0`, c, c),
    ];
    return [
      { target: 'unet' as const, path: `${at}.proj_in`, weightShape: [c, c, 1, 1] },
      ...attention('attn1', c),
      ...attention('attn2', 12),
      linear('unet', `${block}.ff.net.0.proj`, 8 * c, c),
      linear('unet', `${block}.ff.net.2`, c, 4 * c),
      { target: 'unet' as const, path: `${at}.proj_out`, weightShape: [c, c, 1, 1] },
    ];
  });
}

function textModules(target: LoraTarget): LoraModule[] {
  return [0, 1, 2].flatMap((l) => {
    const layer = `text_model.encoder.layers.${l}`;
    return [
      ...['q', 'k', 'v', 'out'].map((name) => linear(target, `${layer}.self_attn.${name}_proj`, 12, 12)),
      linear(target, `${layer}.mlp.fc1`, 24, 12),
      linear(target, `${layer}.mlp.fc2`, 12, 24),
    ];
  });
}

const ALL = [...unetModules(), ...textModules('text_encoder')];
const ATTENTION = ALL.filter(({ path }) => /\.(to_[qkv]|to_out\.0|self_attn\.\w+_proj)$/.test(path));

interface Spelling {
  modules: LoraModule[];
  name: (module: LoraModule) => string;
  down: string;
  up: string;
  textDown?: string;
  textUp?: string;
}

const own = ({ target, path }: LoraModule) => `${target}.${path}`;
const bare = ({ target, path }: LoraModule) => `${target}.${path.replace('text_model.', '')}`;
const flat = (prefix: string, path: string) => `${prefix}${path.replaceAll('.', '_')}`;
const processor = (path: string) =>
  path.replace(/\.(attn\d)\.(to_[qkv]|to_out)(\.0)?$/, '.$1.processor.$2').replace(/\.([qkv]|out)_proj$/, '.to_$1');

const SPELLINGS: Record<string, Spelling> = {
  'diffusers today': {
    modules: ATTENTION,
    name: own,
    down: '.lora.down.weight',
    up: '.lora.up.weight',
    textDown: '.lora_linear_layer.down.weight',
    textUp: '.lora_linear_layer.up.weight',
  },
  'diffusers with transformers 5': { modules: ATTENTION, name: bare, down: '.lora.down.weight', up: '.lora.up.weight' },
  PEFT: { modules: ALL, name: own, down: '.lora_A.weight', up: '.lora_B.weight' },
  'attention processors': {
    modules: ATTENTION,
    name: ({ target, path }) => processor(`${target}.${path}`),
    down: '_lora.down.weight',
    up: '_lora.up.weight',
  },
  'first releases without unet.': {
    modules: ATTENTION.filter(({ target }) => target === 'unet'),
    name: ({ path }) => processor(path),
    down: '_lora.down.weight',
    up: '_lora.up.weight',
  },
  kohya: {
    modules: ALL,
    name: ({ target, path }) => flat(target === 'unet' ? 'lora_unet_' : 'lora_te_', path),
    down: '.lora_down.weight',
    up: '.lora_up.weight',
  },
};

const RANK = 2;

function filePair(module: LoraModule, { name, down, up, textDown, textUp }: Spelling) {
  const [out = 0, ...input] = module.weightShape;
  const isText = module.target !== 'unet';
  const shapes = { down: [RANK, ...input], up: module.weightShape.length === 4 ? [out, RANK, 1, 1] : [out, RANK] };
  const stored = (part: 'down' | 'up', ending: string) => {
    const values = goldenTensor(`lora:${module.path}.${part}`, shapes[part]);
    return [name(module) + ending, { dtype: 'F32' as const, shape: shapes[part], values }] as const;
  };
  return [stored('down', isText ? (textDown ?? down) : down), stored('up', isText ? (textUp ?? up) : up)];
}

async function save(
  tensors: Iterable<readonly [string, { dtype: 'F32'; shape: readonly number[]; values: Float32Array }]>,
  metadata?: Record<string, string>,
): Promise<string> {
  const file = join(folder, 'lora.safetensors');
  await saveSafetensors(file, tensors, metadata);
  return file;
}

const scalar = (value: number) => ({ dtype: 'F32' as const, shape: [], values: Float32Array.of(value) });
const zeros = (...shape: number[]) => ({
  dtype: 'F32' as const,
  shape,
  values: new Float32Array(shape.reduce((product, dim) => product * dim, 1)),
});

test.each(Object.keys(SPELLINGS))('the spelling "%s" loads every module with its own values', async (key) => {
  const spelling = SPELLINGS[key]!;
  const file = await save(spelling.modules.toReversed().flatMap((module) => filePair(module, spelling)));
  const loaded = await loadLoraFile(file, ALL);
  expect(loaded).toEqual(
    spelling.modules.map((module) => {
      const [[, down], [, up]] = filePair(module, spelling) as [
        ReturnType<typeof filePair>[0],
        ReturnType<typeof filePair>[0],
      ];
      const { target, path } = module;
      return { target, path, rank: RANK, scale: 1, down: down.values, up: up.values };
    }),
  );
});

test('modules named without text_model. take keys with it', async () => {
  const modules = textModules('text_encoder').map((module) => ({ ...module, path: module.path.slice(11) }));
  const spelling = SPELLINGS['kohya']!;
  const file = await save(textModules('text_encoder').flatMap((module) => filePair(module, spelling)));
  expect((await loadLoraFile(file, modules)).map(({ path }) => path)).toEqual(modules.map(({ path }) => path));
});

test('SDXL files tell the two text encoders apart', async () => {
  const modules = [...textModules('text_encoder'), ...textModules('text_encoder_2')];
  const spelling: Spelling = {
    ...SPELLINGS['kohya']!,
    name: ({ target, path }) => flat(target === 'text_encoder' ? 'lora_te1_' : 'lora_te2_', path),
  };
  const file = await save(modules.flatMap((module) => filePair(module, spelling)));
  const loaded = await loadLoraFile(file, modules);
  expect(loaded.map(({ target, path }) => [target, path])).toEqual(modules.map(({ target, path }) => [target, path]));
});

test('alpha divided by the rank is the scale, and an alpha of 0 counts as absent', async () => {
  const [first, second, third] = ['q', 'k', 'v'].map(
    (name) => `lora_te_text_model_encoder_layers_0_self_attn_${name}_proj`,
  );
  const file = await save(
    [first, second, third].flatMap((name, index) => [
      [`${name}.lora_down.weight`, zeros(4, 12)] as const,
      [`${name}.lora_up.weight`, zeros(12, 4)] as const,
      ...(index < 2 ? [[`${name}.alpha`, scalar(index === 0 ? 2 : 0)] as const] : []),
    ]),
  );
  expect((await loadLoraFile(file, ALL)).map(({ rank, scale }) => [rank, scale])).toEqual([
    [4, 0.5],
    [4, 1],
    [4, 1],
  ]);
});

test('alpha is taken from the adapter metadata with its patterns', async () => {
  const q = 'mid_block.attentions.0.transformer_blocks.0.attn1.to_q';
  const k = q.replace('to_q', 'to_k');
  const text = 'text_model.encoder.layers.0.self_attn.q_proj';
  const tensors = [
    [`unet.${q}.lora_A.weight`, zeros(4, 16)] as const,
    [`unet.${q}.lora_B.weight`, zeros(16, 4)] as const,
    [`unet.${k}.lora_A.weight`, zeros(8, 16)] as const,
    [`unet.${k}.lora_B.weight`, zeros(16, 8)] as const,
    [`text_encoder.${text}.lora_A.weight`, zeros(4, 12)] as const,
    [`text_encoder.${text}.lora_B.weight`, zeros(12, 4)] as const,
  ];
  const settings = {
    'unet.r': 4,
    'unet.lora_alpha': 8,
    'unet.rank_pattern': { [k]: 8 },
    'unet.alpha_pattern': { 'attn1.to_k': 2 },
    'text_encoder.lora_alpha': 6,
    'text_encoder.use_rslora': true,
  };
  const file = await save(tensors, { format: 'pt', lora_adapter_metadata: JSON.stringify(settings) });
  expect((await loadLoraFile(file, ALL)).map(({ path, scale }) => [path, scale])).toEqual([
    [q, 2],
    [k, 0.25],
    [text, 3],
  ]);
});

test('files that do not fit are refused with the reason', async () => {
  const refused = async (
    tensors: Record<string, { dtype: 'F32'; shape: number[]; values: Float32Array }>,
    message: RegExp,
    metadata?: Record<string, string>,
  ) => {
    const file = await save(Object.entries(tensors), metadata);
    const error: unknown = await loadLoraFile(file, ALL).catch((reason) => reason);
    expect(error).toBeInstanceOf(UserError);
    expect(String(error)).toMatch(message);
  };
  const name = 'lora_unet_mid_block_attentions_0_proj_in';
  const good = { [`${name}.lora_down.weight`]: zeros(4, 16), [`${name}.lora_up.weight`]: zeros(16, 4) };
  await refused({}, /got no tensors/);
  await refused({ ...good, [`${name}.dora_scale`]: zeros(16) }, /plain LoRA, got DoRA/);
  await refused({ 'unet.x.lora_magnitude_vector': zeros(16) }, /plain LoRA, got DoRA/);
  await refused({ [`${name}.hada_w1_a`]: zeros(4, 16) }, /got LyCORIS LoHa/);
  await refused({ [`${name}.lokr_w1`]: zeros(4, 16) }, /got LyCORIS LoKr/);
  const strangers = Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`other_${i}.lora_up.weight`, zeros(1, 1)]));
  await refused({ ...good, ...strangers }, /got 7 others: other_0\S*, other_1\S*, other_2\S*, other_3\S*, other_4\S*$/);
  await refused({ [`${name}.lora_down.weight`]: zeros(4, 16) }, /got only down of lora_unet_mid_block/);
  await refused({ [`${name}.alpha`]: scalar(1) }, /got only alpha of/);
  await refused(
    { ...good, [`${name}.lora_up.weight`]: zeros(16, 5) },
    /lora_up.weight must have the shape \[16,4\].*\[16,5\]/,
  );
  await refused({ ...good, [`${name}.lora_down.weight`]: zeros(4, 15) }, /\[4,16,1,1\] for this model, got \[4,15\]/);
  await refused({ ...good, [`${name}.lora_down.weight`]: zeros(4, 16, 3, 3) }, /got \[4,16,3,3\]/);
  await refused({ ...good, [`${name}.alpha`]: zeros(2) }, /one finite number/);
  await refused({ ...good, 'unet.mid_block.attentions.0.proj_in.lora_A.weight': zeros(4, 16) }, /must come once/);
  await refused(good, /metadata must be a JSON object/, { lora_adapter_metadata: '[]' });
  await refused(good, /lora_adapter_metadata: /, { lora_adapter_metadata: '{"unet.lora_alpha":"x"}' });
  await expect(loadLoraFile('/models/lora.ckpt', ALL)).rejects.toThrow(/pickles/);
});

/** All Linear and Conv modules of the full-size SDXL UNet. */
async function xlModules(): Promise<LoraModule[]> {
  const lines = (await readFile(join(import.meta.dirname, '../../golden/shapes/unet_xl.txt'), 'utf8'))
    .trim()
    .split('\n');
  return lines.flatMap((line) => {
    const [, path = '', shape = ''] = /^(.+)\.weight \[(.+)\]$/.exec(line) ?? [];
    const weightShape = shape.split(', ').map(Number);
    return weightShape.length < 2 ? [] : [{ target: 'unet' as const, path, weightShape }];
  });
}

/** sgm path -> diffusers path, the direction in which models.md 13.3 states the rule; three resnets per up block. */
function fromSgm(path: string): string {
  const resnet: Record<string, string> = {
    'in_layers.2': 'conv1',
    'emb_layers.1': 'time_emb_proj',
    'out_layers.3': 'conv2',
    skip_connection: 'conv_shortcut',
  };
  const [, side, i, rest = ''] = /^(input|middle|output)_blocks?\.(\d+)\.(.+)$/.exec(path) ?? [];
  const index = Number(i);
  if (side === 'middle') {
    return ['resnets.0', 'attentions.0', 'resnets.1'].map((inner) => `mid_block.${inner}.${resnet[rest] ?? rest}`)[
      index
    ]!;
  }
  const position = side === 'input' ? index - 1 : index;
  const block = `${side === 'input' ? 'down' : 'up'}_blocks.${Math.floor(position / 3)}`;
  const inner = rest.slice(2);
  if (inner === 'op') return `${block}.downsamplers.0.conv`;
  if (inner === 'conv') return `${block}.upsamplers.0.conv`;
  return rest.startsWith('0')
    ? `${block}.resnets.${position % 3}.${resnet[inner]}`
    : `${block}.attentions.${position % 3}.${inner}`;
}

/** The blocks of SDXL's UNet in sgm with their inner modules, all but the embeddings and the first and last Conv. */
function sgmXlPaths(): string[] {
  const resnet = (at: string, shortcut: boolean) => [
    ...['in_layers.2', 'emb_layers.1', 'out_layers.3'].map((inner) => `${at}.${inner}`),
    ...(shortcut ? [`${at}.skip_connection`] : []),
  ];
  const transformer = (at: string, depth: number) => [
    `${at}.proj_in`,
    ...Array.from({ length: depth }, (_, k) => {
      const attention = (name: string) => ['to_q', 'to_k', 'to_v', 'to_out.0'].map((layer) => `${name}.${layer}`);
      const layers = [...attention('attn1'), ...attention('attn2'), 'ff.net.0.proj', 'ff.net.2'];
      return layers.map((layer) => `${at}.transformer_blocks.${k}.${layer}`);
    }).flat(),
    `${at}.proj_out`,
  ];
  const depthOf = { input: [0, 0, 0, 0, 2, 2, 0, 10, 10], output: [10, 10, 10, 2, 2, 2, 0, 0, 0] };
  const input = [1, 2, 3, 4, 5, 6, 7, 8].flatMap((i) => {
    const at = `input_blocks.${i}`;
    if (i % 3 === 0) return [`${at}.0.op`];
    const depth = depthOf.input[i]!;
    return [...resnet(`${at}.0`, i === 4 || i === 7), ...(depth > 0 ? transformer(`${at}.1`, depth) : [])];
  });
  const middle = [
    ...resnet('middle_block.0', false),
    ...transformer('middle_block.1', 10),
    ...resnet('middle_block.2', false),
  ];
  const output = depthOf.output.flatMap((depth, i) => [
    ...resnet(`output_blocks.${i}.0`, true),
    ...(depth > 0 ? transformer(`output_blocks.${i}.1`, depth) : []),
    ...(i === 2 || i === 5 ? [`output_blocks.${i}.2.conv`] : []),
  ]);
  return [...input, ...middle, ...output];
}

async function saveXl(paths: string[], modules: LoraModule[]): Promise<string> {
  const shapes = new Map(modules.map(({ path, weightShape }) => [path, weightShape]));
  const tensors = paths.flatMap((sgm) => {
    const [out = 0, ...input] = shapes.get(fromSgm(sgm)) ?? [];
    const kernel = input.length === 3 ? [1, 1] : [];
    return [
      [`${flat('lora_unet_', sgm)}.lora_down.weight`, zeros(1, ...input)] as const,
      [`${flat('lora_unet_', sgm)}.lora_up.weight`, zeros(out, 1, ...kernel)] as const,
    ];
  });
  return save(tensors);
}

test('kohya file of SDXL in sgm names reaches the 722 modules of its transformers', async () => {
  const modules = await xlModules();
  const expected = modules.filter(({ path }) => path.includes('.attentions.')).map(({ path }) => path);
  const paths = sgmXlPaths().filter((path) => fromSgm(path).includes('.attentions.'));
  expect(paths).toHaveLength(722);
  const loaded = await loadLoraFile(await saveXl(paths, modules), modules);
  expect(loaded.map(({ path }) => path)).toEqual(expected);
});

test('kohya file of SDXL with convolutions reaches every module between the first and the last', async () => {
  const modules = await xlModules();
  const ends = /^(conv_in|conv_out|time_embedding\..*|add_embedding\..*)$/;
  const loaded = await loadLoraFile(await saveXl(sgmXlPaths(), modules), modules);
  expect(loaded.map(({ path }) => path)).toEqual(modules.map(({ path }) => path).filter((path) => !ends.test(path)));
});

test('the ends of the UNet and an upsampler without attention have their sgm names', async () => {
  const names = {
    conv_in: 'input_blocks_0_0',
    'time_embedding.linear_1': 'time_embed_0',
    'time_embedding.linear_2': 'time_embed_2',
    'add_embedding.linear_1': 'label_emb_0_0',
    'add_embedding.linear_2': 'label_emb_0_2',
    'up_blocks.0.upsamplers.0.conv': 'output_blocks_2_1_conv',
    'up_blocks.1.upsamplers.0.conv': 'output_blocks_5_2_conv',
    conv_out: 'out_2',
  };
  const modules: LoraModule[] = [
    ...Object.keys(names).map((path) => linear('unet', path, 3, 3)),
    linear('unet', 'up_blocks.0.resnets.2.conv1', 3, 3),
    linear('unet', 'up_blocks.1.attentions.2.proj_in', 3, 3),
  ];
  const file = await save(
    Object.values(names).flatMap((name) => [
      [`lora_unet_${name}.lora_down.weight`, zeros(1, 3)] as const,
      [`lora_unet_${name}.lora_up.weight`, zeros(3, 1)] as const,
    ]),
  );
  expect((await loadLoraFile(file, modules)).map(({ path }) => path)).toEqual(Object.keys(names));
});
