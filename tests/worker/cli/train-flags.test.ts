import { describe, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { parseTrainFlags, TRAIN_USAGE } from '../../../worker/cli/train-flags.ts';
import { TRAINING_METHODS, type TrainingMethod } from '../../../worker/training/settings.ts';

const REQUIRED: { readonly [M in TrainingMethod]: readonly string[] } = {
  dreambooth: ['--class-noun', 'dog'],
  'dreambooth-lora': ['--class-noun', 'dog'],
  'textual-inversion': ['--placeholder-token', '<my-dog>', '--initializer-token', 'dog'],
  controlnet: ['--conditioning-images', 'maps'],
  't2i-adapter': ['--conditioning-images', 'maps'],
  'fine-tune': [],
  'from-scratch': [],
};

const line = (method: TrainingMethod, ...args: string[]) => [
  ...['--method', method, '--model', 'sd', '--instance-images', 'photos', '--out', 'result'],
  ...REQUIRED[method],
  ...args,
];
const parse = (method: TrainingMethod, ...args: string[]) => parseTrainFlags(line(method, ...args));

test('a short line leaves the rest to the method', () => {
  expect(parse('dreambooth-lora')).toEqual({
    model: 'sd',
    out: 'result',
    instanceImages: 'photos',
    instanceMasks: undefined,
    classImages: undefined,
    conditioningImages: undefined,
    device: 'auto',
    threads: undefined,
    memoryLimitBytes: undefined,
    isResumed: false,
    settings: { method: 'dreambooth-lora', classNoun: 'dog' },
  });
});

test('options that are not settings arrive', () => {
  const flags = [
    '--instance-masks',
    'masks',
    '--class-images',
    'dogs',
    '--device',
    'cpu',
    '--threads',
    '2',
    '--memory-limit',
    '1.5',
  ];
  expect(parse('dreambooth', ...flags, '--resume-from-checkpoint', 'latest')).toMatchObject({
    instanceMasks: 'masks',
    classImages: 'dogs',
    device: 'cpu',
    threads: 2,
    memoryLimitBytes: 1.5 * 2 ** 30,
    isResumed: true,
  });
  expect(parse('controlnet', '--resume-from-checkpoint', 'none')).toMatchObject({
    conditioningImages: 'maps',
    isResumed: false,
  });
});

const WITH_ENCODER = '--train-text-encoder';

/** Spelled as diffusers' scripts spell them, with dashes. */
const FLAGS: readonly (readonly [TrainingMethod, args: readonly string[], settings: Record<string, unknown>])[] = [
  ['dreambooth', ['--identifier', 'sks'], { identifier: 'sks' }],
  ['dreambooth', ['--instance-prompt', 'a photo of sks dog'], { instancePrompt: 'a photo of sks dog' }],
  ['dreambooth', ['--class-prompt', 'a dog, "really"'], { classPrompt: 'a dog, "really"' }],
  ['dreambooth', ['--num-class-images', '300'], { numClassImages: 300 }],
  ['dreambooth', ['--prior-loss-weight', '0.5'], { priorLossWeight: 0.5 }],
  ['dreambooth-lora', ['--with-prior-preservation'], { withPriorPreservation: true }],
  ['dreambooth', ['--no-with-prior-preservation'], { withPriorPreservation: false }],
  ['dreambooth', ['--diff-output-preservation'], { diffOutputPreservation: true }],
  ['dreambooth', ['--train-text-encoder'], { trainTextEncoder: true }],
  ['dreambooth', ['--no-train-text-encoder'], { trainTextEncoder: false }],
  ['fine-tune', ['--text-encoder-lr', '2e-6', WITH_ENCODER], { textEncoderLr: 2e-6, trainTextEncoder: true }],
  ['dreambooth-lora', ['--rank', '16'], { loraRank: 16 }],
  ['dreambooth-lora', ['--lora-alpha', '1'], { loraAlpha: 1 }],
  ['dreambooth-lora', ['--lora-multiplier', '0.7'], { loraMultiplier: 0.7 }],
  ['dreambooth-lora', ['--lora-target-modules', 'to_q,conv1'], { loraTargetModules: 'to_q,conv1' }],
  ['dreambooth-lora', ['--output-kohya-format'], { outputKohyaFormat: true }],
  [
    'dreambooth-lora',
    ['--adam-weight-decay-text-encoder', '0', WITH_ENCODER],
    { adamWeightDecayTextEncoder: 0, trainTextEncoder: true },
  ],
  ['textual-inversion', ['--num-vectors', '3'], { numVectors: 3 }],
  ['textual-inversion', ['--learnable-property', 'style'], { learnableProperty: 'style' }],
  ['controlnet', ['--proportion-empty-prompts', '0'], { proportionEmptyPrompts: 0 }],
  ['t2i-adapter', ['--resolution', '768'], { resolution: 768 }],
  ['dreambooth', ['--no-center-crop'], { centerCrop: false }],
  ['dreambooth', ['--train-batch-size', '2'], { trainBatchSize: 2 }],
  ['dreambooth', ['--gradient-accumulation-steps', '4'], { gradientAccumulationSteps: 4 }],
  ['dreambooth', ['--max-train-steps', '1200'], { maxTrainSteps: 1200 }],
  ['dreambooth', ['--learning-rate', '5e-6'], { learningRate: 5e-6 }],
  ['dreambooth', ['--lr-scheduler', 'cosine'], { lrScheduler: 'cosine' }],
  ['dreambooth', ['--lr-warmup-steps', '0'], { lrWarmupSteps: 0 }],
  ['dreambooth', ['--snr-gamma', '5'], { snrGamma: 5 }],
  ['dreambooth', ['--offset-noise', '0.1'], { offsetNoise: 0.1 }],
  ['dreambooth', ['--max-grad-norm', '0.5'], { maxGradNorm: 0.5 }],
  ['dreambooth', ['--adam-beta1', '0.8'], { adamBeta1: 0.8 }],
  ['dreambooth', ['--adam-beta2', '0.99'], { adamBeta2: 0.99 }],
  ['dreambooth', ['--adam-weight-decay', '0'], { adamWeightDecay: 0 }],
  ['dreambooth', ['--adam-epsilon', '1e-6'], { adamEpsilon: 1e-6 }],
  ['from-scratch', ['--no-use-ema'], { useEma: false }],
  ['from-scratch', ['--component', 'vae'], { component: 'vae' }],
  ['dreambooth', ['--mixed-precision', 'fp16'], { mixedPrecision: 'fp16' }],
  ['dreambooth', ['--gradient-checkpointing'], { gradientCheckpointing: true }],
  ['dreambooth', ['--seed', '0'], { seed: 0 }],
  ['dreambooth', ['--checkpointing-steps', '50'], { checkpointingSteps: 50 }],
  ['dreambooth', ['--validation-prompt', 'a dog in a bucket'], { validationPrompt: 'a dog in a bucket' }],
  ['dreambooth', ['--validation-steps', '10'], { validationSteps: 10 }],
  ['dreambooth', ['--num-validation-images', '2'], { numValidationImages: 2 }],
];

test.each(FLAGS)('%s takes %o', (method, args, settings) => {
  const { settings: bare } = parse(method);
  expect(parse(method, ...args).settings).toEqual({ ...bare, ...settings });
});

test('every flag of the usage is taken, and the usage names every flag', () => {
  const named = [...TRAIN_USAGE.matchAll(/^ {2}--(?:\[no-\])?([\w-]+)/gm)].map(([, flag]) => flag!);
  const tested = FLAGS.flatMap(([, [flag]]) => flag!.replace(/^--(no-)?/, ''));
  const others = [...Object.values(REQUIRED).flat(), '--method', '--instance-masks', '--class-images', '--device'];
  const known = [...others, '--threads', '--memory-limit', '--resume-from-checkpoint', '--from-checkpoint'].filter(
    (arg) => arg.startsWith('--'),
  );
  expect(new Set(named)).toEqual(new Set([...tested, ...known.map((flag) => flag.slice(2))]));
});

test('the usage tells the defaults of each method', () => {
  expect(TRAIN_USAGE).toContain('(1; 4 for controlnet; 16 for from-scratch)');
  expect(TRAIN_USAGE).toContain('(0.01; 1e-4 for dreambooth-lora of SDXL)');
  expect(TRAIN_USAGE).toContain('(2e-6 for dreambooth, fine-tune; 5e-6 for dreambooth-lora)');
});

describe('a line is refused', () => {
  test.each<[TrainingMethod, readonly string[], string]>([
    ['dreambooth', ['--learning-rate', 'fast'], '--learning-rate must be a number above 0, got "fast"'],
    ['dreambooth', ['--learning-rate', ''], '--learning-rate must be a number above 0, got ""'],
    ['dreambooth', ['--learning-rate', '0'], '--learning-rate must be a number above 0, got "0"'],
    ['dreambooth', ['--max-train-steps', '1.5'], '--max-train-steps must be a whole number above 0, got "1.5"'],
    ['dreambooth', ['--resolution', '500'], '--resolution must be a multiple of 8 above 0, got "500"'],
    ['dreambooth', ['--adam-beta1', '1'], '--adam-beta1 must be a number of 0 or more and below 1, got "1"'],
    [
      'dreambooth',
      ['--mixed-precision', 'bf16'],
      '--mixed-precision must be one of no, fp16 (ONNX Runtime has no convolution in bf16), got "bf16"',
    ],
    ['dreambooth', ['--text-encoder-lr', '1e-6'], '--text-encoder-lr must go with --train-text-encoder, got it alone'],
    [
      'dreambooth-lora',
      ['--no-train-text-encoder', '--adam-weight-decay-text-encoder', '0'],
      '--adam-weight-decay-text-encoder must go with --train-text-encoder, got it alone',
    ],
    ['dreambooth', ['--seed=-1'], '--seed must be a whole number from 0 to 4294967295, got "-1"'],
    ['dreambooth', ['--class-prompt', ' '], '--class-prompt must be text that is not blank, got " "'],
    [
      'dreambooth',
      ['--lr-scheduler', 'linear'],
      '--lr-scheduler must be one of constant, constant_with_warmup, cosine',
    ],
    ['dreambooth', ['--device', 'tpu'], '--device must be one of auto, cpu, webgpu, cuda, got "tpu"'],
    ['dreambooth', ['--memory-limit', '0'], '--memory-limit must be a number of GiB above 0, got "0"'],
    ['dreambooth', ['--threads', '0'], '--threads must be a whole number above 0, got "0"'],
    [
      'dreambooth',
      ['--resume-from-checkpoint', '500'],
      '--resume-from-checkpoint must be one of latest, none, got "500"',
    ],
    ['dreambooth', ['--out', ''], '--out must be a name, got ""'],
    ['dreambooth', ['--rank', '4'], '--rank must go with --method dreambooth-lora, got dreambooth'],
    [
      'dreambooth',
      ['--conditioning-images', 'maps'],
      '--conditioning-images must go with --method controlnet or t2i-a',
    ],
    ['controlnet', ['--class-images', 'dogs'], '--class-images must go with --method dreambooth or dreambooth-lora'],
    [
      'dreambooth',
      ['--diff-output-preservation', '--class-images', 'dogs'],
      '--diff-output-preservation needs no class pictures, got --class-images',
    ],
    [
      'controlnet',
      ['--no-use-ema'],
      '--use-ema must go with --method dreambooth or fine-tune or from-scratch, got con',
    ],
    ['dreambooth', ['--use-ema', '--no-use-ema'], '--use-ema must be on or off, got --use-ema and --no-use-ema'],
    ['dreambooth', ['--learning_rate', '1'], "Unknown option '--learning_rate'"],
    ['dreambooth', ['photos'], "Unexpected argument 'photos'"],
  ])('for %s with %o', (method, args, message) => {
    expect(() => parse(method, ...args)).toThrow(UserError);
    expect(() => parse(method, ...args)).toThrow(message);
  });

  test.each(['method', 'model', 'instance-images', 'out'])('without --%s', (flag) => {
    const args = line('fine-tune');
    args.splice(args.indexOf(`--${flag}`), 2);
    expect(() => parseTrainFlags(args)).toThrow(`Cannot train: --${flag} is missing\nUsage: npm run train`);
  });

  test.each<[TrainingMethod, string]>([
    ['textual-inversion', 'placeholder-token'],
    ['textual-inversion', 'initializer-token'],
    ['t2i-adapter', 'conditioning-images'],
  ])('of %s without --%s', (method, flag) => {
    const args = line(method);
    args.splice(args.indexOf(`--${flag}`), 2);
    expect(() => parseTrainFlags(args)).toThrow(`Cannot train: --${flag} is missing`);
  });

  test('of a method that does not exist', () => {
    const args = line('dreambooth').with(1, 'dream-booth');
    expect(() => parseTrainFlags(args)).toThrow(`must be one of ${TRAINING_METHODS.join(', ')}, got "dream-booth"`);
  });
});
