import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { textEncoderClass, vaeClass } from '../../../worker/networks/network-classes.ts';
import { describeTextEncoder } from '../../../worker/networks/text-encoder-graph.ts';
import { describeVaeDecoder, VAE_COMPONENT } from '../../../worker/networks/vae-graph.ts';
import {
  type Checkpoint,
  type CheckpointRules,
  compareCheckpoint,
  openCheckpoint,
} from '../../../worker/runtime/checkpoint.ts';
import { compile } from '../../../worker/runtime/compile.ts';
import { saveSafetensors, type TensorToSave } from '../../../worker/runtime/safetensors.ts';
import { float32Tensor, int64Tensor } from '../../../worker/runtime/session.ts';
import { findComponentWeights } from '../../../worker/runtime/weight-files.ts';
import { goldenTensor } from '../../support/golden.ts';
import { floats, goldenInput, temporaryFolder, tinyConfigs } from '../../support/tiny-models.ts';

type Shapes = Record<string, readonly number[]>;

const float = (shape: readonly number[]): TensorToSave => {
  return { dtype: 'F32', shape, values: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
};

async function weightsOf(tensors: Iterable<readonly [string, TensorToSave]>) {
  const folder = await temporaryFolder();
  await saveSafetensors(join(folder, 'model.safetensors'), tensors);
  return findComponentWeights(folder);
}

async function openStored(
  stored: Shapes,
  expected: Shapes,
  currentName?: CheckpointRules['currentName'],
): Promise<Checkpoint> {
  const weights = await weightsOf(Object.entries(stored).map(([name, shape]) => [name, float(shape)] as const));
  const rules = { expected: new Map(Object.entries(expected)), ...(currentName && { currentName }) };
  return openCheckpoint(weights, rules);
}

async function refusal(opening: Promise<unknown>): Promise<string> {
  const error = await opening.then(
    () => expect.fail('it was accepted'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UserError);
  return error instanceof Error ? error.message : String(error);
}

const numbered = (stem: string, count: number): Shapes => {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`${stem}.${i}`, [2]]));
};

describe('checkpoint is refused with counts and names', () => {
  test('when tensors are missing, not used or of the wrong shape', async () => {
    const stored = { a: [2, 3], b: [4], extra: [1] };
    const message = await refusal(openStored(stored, { a: [3, 2], b: [4], c: [5], d: [6] }));
    expect(message).toMatch(/^Cannot use the weights in \/.*: 2 missing tensors: c, d; 1 unused tensors: extra; /);
    expect(message).toContain('1 wrong shapes: a must be [3, 2], got [2, 3]');
  });

  test('when so many are missing that only some are named', async () => {
    const message = await refusal(openStored({ a: [1] }, { a: [1], ...numbered('m', 25) }));
    expect(message).toContain('25 missing tensors: m.0, m.1, m.2, m.3, m.4, m.5, m.6, m.7, m.8, m.9 and 15 more');
    expect(message).not.toContain('m.10');
  });

  test('when exactly as many are missing as are named', async () => {
    const message = await refusal(openStored({ a: [1] }, { a: [1], ...numbered('m', 10) }));
    expect(message).toMatch(/m\.8, m\.9$/);
  });

  test('when one name is stored in two spellings', async () => {
    const stored = { old: [2], new: [2] };
    const opening = openStored(stored, { new: [2] }, (name) => (name === 'old' ? 'new' : name));
    expect(await refusal(opening)).toBe('Cannot use the weights: new is stored twice, got old and new');
  });

  test.each(['I64'] as const)('when weights are integers of %s', async (dtype) => {
    const weights = await weightsOf([['w', { dtype, shape: [2], values: BigInt64Array.of(1n, 2n) }]]);
    const opening = Promise.resolve().then(() => openCheckpoint(weights, { expected: new Map([['w', [2]]]) }));
    expect(await refusal(opening)).toMatch(/^Cannot use the weights in \/.*: w must be F32, F16 or BF16, got I64$/);
  });
});

describe('checkpoint is accepted', () => {
  test('when linear weights are kept as convolutions of 1 x 1', async () => {
    const { parameters } = await openStored({ a: [4, 3, 1, 1], b: [2] }, { a: [4, 3], b: [2, 1] });
    expect([...parameters.keys()]).toEqual(['a', 'b']);
    expect(await refusal(openStored({ a: [4, 3, 1, 2] }, { a: [4, 3] }))).toContain(
      'a must be [4, 3], got [4, 3, 1, 2]',
    );
    expect(await refusal(openStored({ a: [1, 4] }, { a: [4] }))).toContain('a must be [4], got [1, 4]');
  });

  test('when integers are among what nobody reads', async () => {
    const ids: TensorToSave = { dtype: 'I64', shape: [1, 2], values: BigInt64Array.of(0n, 1n) };
    const weights = await weightsOf([
      ['ids', ids],
      ['w', float([2])],
    ]);
    const currentName = (name: string) => (name === 'ids' ? undefined : name);
    const { parameters } = openCheckpoint(weights, { expected: new Map([['w', [2]]]), currentName });
    expect([...parameters.keys()]).toEqual(['w']);
  });

  test('and its differences are empty', async () => {
    const { tensors } = await weightsOf([['w', float([2])]]);
    const differences = compareCheckpoint(tensors, { expected: new Map([['w', [2]]]) });
    expect(differences).toEqual({ missing: [], unused: [], wrongShape: [] });
  });
});

type Network = Pick<typeof vaeClass, 'currentName'>;

/** Opens golden weights that are stored under other names, with more tensors beside them. */
async function openRenamed(
  { currentName }: Network,
  expected: ReadonlyMap<string, readonly number[]>,
  {
    storedName,
    more = [],
  }: { storedName: (name: string) => string; more?: readonly (readonly [string, TensorToSave])[] },
): Promise<Checkpoint> {
  const tensors = [...expected].map(([name, shape]) => {
    return [storedName(name), { dtype: 'F32', shape, values: goldenTensor(name, shape) }] as const;
  });
  return openCheckpoint(await weightsOf([...tensors, ...more]), { expected, currentName });
}

const OLD_NAMES = { to_q: 'query', to_k: 'key', to_v: 'value', 'to_out.0': 'proj_attn' } as const;

describe('VAE', () => {
  const config = vaeClass.parseConfig(tinyConfigs.vae, 'vae/config.json');
  const expected = vaeClass.tensorShapes(config);

  async function decode(checkpoint: Checkpoint): Promise<Float32Array> {
    const outputs = describeVaeDecoder(config, 'float32');
    const session = await compile(outputs, { device: 'cpu', threads: 1, checkpoints: { [VAE_COMPONENT]: checkpoint } });
    onTestFinished(() => session.dispose());
    const { image } = await session.run({ latents: goldenInput('lat', [1, 4, 4, 4]) });
    return floats(image);
  }

  test('gives the same picture bit for bit when its attention has the names of early files', async () => {
    const oldName = (name: string) => {
      return name.replace(
        /(attentions\.0\.)(to_q|to_k|to_v|to_out\.0)\./,
        (_, before: string, layer: keyof typeof OLD_NAMES) => {
          return `${before}${OLD_NAMES[layer]}.`;
        },
      );
    };
    expect([...expected.keys()].filter((name) => oldName(name) !== name)).toHaveLength(16);
    const today = await openRenamed(vaeClass, expected, { storedName: (name) => name });
    const early = await openRenamed(vaeClass, expected, { storedName: oldName });
    expect(await decode(early)).toEqual(await decode(today));
  });

  test('is refused when it has both spellings of a name', async () => {
    const twin = 'decoder.mid_block.attentions.0.query.weight';
    const opening = openRenamed(vaeClass, expected, { storedName: (name) => name, more: [[twin, float([16, 16])]] });
    expect(await refusal(opening)).toContain('decoder.mid_block.attentions.0.to_q.weight is stored twice, got ');
  });

  test('is refused when its names are old but belong to other layers', async () => {
    const storedName = (name: string) => name.replace('resnets.0.conv1.weight', 'resnets.0.query.weight');
    expect(await refusal(openRenamed(vaeClass, expected, { storedName }))).toMatch(
      /missing tensors: .*unused tensors: /s,
    );
  });
});

describe('text encoder', () => {
  const config = textEncoderClass.parseConfig(tinyConfigs['clip-quickgelu'], 'text_encoder/config.json');
  const expected = textEncoderClass.tensorShapes(config);
  const ids = Array.from({ length: 77 }, (_, i) => (i * 7) % 120);
  const positions: TensorToSave = {
    dtype: 'I64',
    shape: [1, 77],
    values: BigInt64Array.from({ length: 77 }, (_, i) => BigInt(i)),
  };

  async function encode(checkpoint: Checkpoint): Promise<Float32Array> {
    const { outputs } = describeTextEncoder(config, { component: 'text_encoder', dtype: 'float32', takesLora: false });
    const session = await compile(outputs, { device: 'cpu', threads: 1, checkpoints: { text_encoder: checkpoint } });
    onTestFinished(() => session.dispose());
    const { last_hidden_state } = await session.run({
      input_ids: int64Tensor(ids, [1, 77]),
      inverted_table: float32Tensor(new Float32Array(12), [1, 12]),
      inverted_rows: int64Tensor(Array(77).fill(0), [1, 77]),
      is_inverted: { dtype: 'bool', data: new Uint8Array(77), dims: [1, 77, 1] },
      hidden_state_index: int64Tensor([3], [1]),
    });
    return floats(last_hidden_state);
  }

  test('gives the same embeddings when names lack text_model and position ids lie beside them', async () => {
    const bare = (name: string) => name.replace(/^text_model\./, '');
    const plain = await encode(await openRenamed(textEncoderClass, expected, { storedName: (name) => name }));
    for (const [storedName, idsName] of [
      [bare, 'embeddings.position_ids'],
      [(name: string) => name, 'text_model.embeddings.position_ids'],
    ] as const) {
      const checkpoint = await openRenamed(textEncoderClass, expected, { storedName, more: [[idsName, positions]] });
      expect(await encode(checkpoint)).toEqual(plain);
    }
  });

  test('is refused when it has a name with and without text_model', async () => {
    const more = [['final_layer_norm.bias', float([12])]] as const;
    const opening = openRenamed(textEncoderClass, expected, { storedName: (name) => name, more });
    expect(await refusal(opening)).toContain('text_model.final_layer_norm.bias is stored twice');
  });

  test('is refused when it has a projection that its configuration does not name', async () => {
    const more = [['text_projection.weight', float([16, 12])]] as const;
    const opening = openRenamed(textEncoderClass, expected, { storedName: (name) => name, more });
    expect(await refusal(opening)).toContain('1 unused tensors: text_projection.weight');
  });
});
