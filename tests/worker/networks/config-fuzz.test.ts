import { describe, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { type ConfigClass, configClasses } from '../../support/config-classes.ts';
import { goldenStream } from '../../support/golden.ts';
import { tinyConfigs } from '../../support/tiny-models.ts';

const { unet, controlnet, adapter, vae, clip, safety, scheduler } = configClasses;

/** Values that files of unknown origin hold where something else should be. */
const STRANGE: readonly unknown[] = [
  null,
  true,
  false,
  0,
  1,
  2,
  3,
  4,
  7,
  8,
  16,
  32,
  64,
  -1,
  -0,
  0.5,
  1e-300,
  1e300,
  2 ** 31,
  2 ** 53,
  65536,
  65537,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  '',
  '8',
  'NaN',
  '-Infinity',
  'silu',
  '__proto__',
  'x'.repeat(5000),
  [],
  [[]],
  {},
  [8],
  [8, 16],
  [16, 8, 16],
  [8, 8, 8, 8],
  Array(8).fill(32),
  Array(9).fill(32),
  Array(5000).fill(1),
  [[8, 16]],
  [null],
  ['8'],
  { length: 2 },
  { 0: 8, 1: 16 },
  { hidden_size: 8 },
  [1, [2, [3, [4]]]],
  JSON.parse('{"__proto__": {"in_channels": 3}}'),
  JSON.parse('{"constructor": 1, "toString": 2}'),
  JSON.parse('['.repeat(3000) + ']'.repeat(3000)),
];

describe('configuration with random changes is refused as a person can understand, or describes a network', () => {
  const schedulerFile = {
    _class_name: 'DDIMScheduler',
    beta_start: 0.00085,
    beta_schedule: 'linear',
    trained_betas: null,
  };
  test.each<[string, ConfigClass, object]>([
    ['UNet', unet, tinyConfigs['unet-lcm']],
    ['SDXL UNet', unet, tinyConfigs['unet-xl']],
    ['ControlNet', controlnet, { ...tinyConfigs['unet-sd2'], conditioning_embedding_out_channels: [4, 4, 8, 8] }],
    ['T2I-Adapter', adapter, tinyConfigs['t2i-full']],
    ['light T2I-Adapter', adapter, tinyConfigs['t2i-light']],
    ['VAE', vae, tinyConfigs.vae],
    ['text encoder', clip, tinyConfigs['clip-proj']],
    ['safety checker', safety, tinyConfigs.safety],
    ['scheduler', scheduler, schedulerFile],
  ])('%s', (name, { describe }, base) => {
    const stream = goldenStream(`fuzz ${name}`, 100_000);
    let position = 0;
    const pick = <T>(list: readonly T[]): T => list[Math.floor(((stream[position++]! + 1) / 2) * list.length)]!;
    const mutate = (json: object): object => {
      const keys = [...Object.keys(json), '__proto__', 'act_fn', 'num_attention_heads', 'unknown'];
      const key = pick(keys);
      const old: unknown = Reflect.get(json, key);
      const isNested = typeof old === 'object' && old !== null && !Array.isArray(old) && key !== '__proto__';
      const value = pick([
        pick(STRANGE),
        pick(STRANGE),
        isNested ? mutate(old) : pick(STRANGE),
        [old],
        typeof old === 'number' ? old * 2 ** pick([1, 3, 5, 10]) : old,
        Array.isArray(old) ? [...old, ...old] : old,
        Array.isArray(old) ? old.map((item) => (pick([true, false]) ? item : pick(STRANGE))) : old,
      ]);
      // An own property even for __proto__, as JSON.parse makes it.
      return Object.defineProperty({ ...json }, key, { value, enumerable: true });
    };
    const counts = { accepted: 0, refused: 0 };
    for (let i = 0; i < 600; i++) {
      let json: object = base;
      for (let change = 0; change <= i % 3; change++) json = mutate(json);
      try {
        expect(describe(json).size).toBeLessThan(100_000);
        counts.accepted++;
      } catch (error) {
        if (!(error instanceof UserError)) {
          throw new Error(`Not a UserError for ${JSON.stringify(json).slice(0, 500)}`, { cause: error });
        }
        expect(error.message.length).toBeLessThan(2000);
        counts.refused++;
      }
    }
    expect(Math.min(counts.accepted, counts.refused)).toBeGreaterThan(50);
  });
});
