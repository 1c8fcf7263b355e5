import { UserError } from '../../shared/errors.ts';
import type { SettingsChange } from '../pipelines/train-request.ts';
import { DEVICE_NAMES, type DeviceName } from '../runtime/device.ts';
import { defaultSettings, type ModelTraits } from '../training/default-settings.ts';
import {
  brokenRule,
  type GivenSettings,
  hasSetting,
  LR_SCHEDULERS,
  type SettingName,
  type SettingValues,
  TRAINING_METHODS,
  type TrainingMethod,
} from '../training/settings.ts';
import { readFlags } from './read-flags.ts';

export interface TrainFlags {
  readonly model: string;
  readonly out: string;
  readonly instanceImages: string;
  /** A mask per instance picture, white where the subject is. */
  readonly instanceMasks: string | undefined;
  /** Pictures of the class; undefined generates them. */
  readonly classImages: string | undefined;
  /** A control image per instance picture; there for methods that learn from pairs. */
  readonly conditioningImages: string | undefined;
  readonly device: DeviceName;
  readonly threads: number | undefined;
  /** A lesson that is estimated to take more is refused; what is free, by default. */
  readonly memoryLimitBytes: number | undefined;
  /** Whether to go on from the newest checkpoint in `out`. */
  readonly isResumed: boolean;
  /** Only what was given; `completeSettings` fills in the rest. */
  readonly settings: GivenSettings;
}

/** How the usage names the value of a flag; a switch has a --no- form instead of a value. */
type ValueName<T> = T extends boolean ? 'switch' : T extends number ? 'N' | 'X' : 'TEXT' | 'WORD' | 'NAME';
type SettingFlag<T> = readonly [flag: string, value: ValueName<T>, help: string];

/** In the order of the usage, spelled as diffusers' scripts spell them. */
const SETTING_FLAGS: { readonly [K in SettingName]-?: SettingFlag<NonNullable<SettingValues[K]>> } = {
  classNoun: ['class-noun', 'WORD', 'what kind of thing the subject is, such as dog'],
  identifier: ['identifier', 'WORD', 'word that comes to mean the subject (a rare one of the vocabulary)'],
  instancePrompt: ['instance-prompt', 'TEXT', 'prompt of the pictures (a photo of, identifier, class noun)'],
  withPriorPreservation: ['with-prior-preservation', 'switch', 'learn class pictures beside the subject'],
  diffOutputPreservation: [
    'diff-output-preservation',
    'switch',
    'keep the class as the frozen model predicts it, without class pictures',
  ],
  priorLossWeight: ['prior-loss-weight', 'X', 'weight of the class pictures'],
  classPrompt: ['class-prompt', 'TEXT', 'prompt of the class pictures (a photo of, class noun)'],
  numClassImages: ['num-class-images', 'N', 'class pictures'],
  trainTextEncoder: ['train-text-encoder', 'switch', 'train the text encoders too'],
  textEncoderLr: ['text-encoder-lr', 'X', 'learning rate of the text encoders'],
  loraRank: ['rank', 'N', 'rank of the change of a layer'],
  loraAlpha: ['lora-alpha', 'X', 'the change is scaled by alpha / rank (the rank)'],
  loraMultiplier: ['lora-multiplier', 'X', 'share of the learned change that is kept (1; 0.8 for pocket)'],
  loraTargetModules: [
    'lora-target-modules',
    'TEXT',
    'modules that learn: ends of their paths, with commas, or all (those of attention; all for pocket)',
  ],
  outputKohyaFormat: ['output-kohya-format', 'switch', "write a second file for tools that read kohya's names"],
  placeholderToken: ['placeholder-token', 'WORD', 'word that is learned, such as <my-dog>'],
  initializerToken: ['initializer-token', 'WORD', 'word of the vocabulary to start from, such as dog'],
  numVectors: ['num-vectors', 'N', 'vectors of the word'],
  learnableProperty: ['learnable-property', 'NAME', 'object or style'],
  component: ['component', 'NAME', 'vae, or unet together with its text encoder (6000 steps at 2e-3 for vae)'],
  proportionEmptyPrompts: ['proportion-empty-prompts', 'X', 'share of the pictures shown without a prompt'],
  resolution: ['resolution', 'N', "side of the square pictures, a multiple of 8 (the model's own)"],
  centerCrop: ['center-crop', 'switch', 'crop in the middle instead of at random'],
  trainBatchSize: ['train-batch-size', 'N', 'pictures per pass; class pictures come on top'],
  gradientAccumulationSteps: ['gradient-accumulation-steps', 'N', 'passes per optimizer step'],
  maxTrainSteps: [
    'max-train-steps',
    'N',
    'optimizer steps; dreambooth without prior 400, dreambooth-lora with it 1000',
  ],
  learningRate: ['learning-rate', 'X', 'learning rate'],
  lrScheduler: ['lr-scheduler', 'NAME', LR_SCHEDULERS.join(', ')],
  lrWarmupSteps: ['lr-warmup-steps', 'N', 'steps in which the rate rises, unless it is constant'],
  snrGamma: ['snr-gamma', 'X', 'min-SNR weighting of the timesteps, such as 5 (off)'],
  offsetNoise: ['offset-noise', 'X', 'noise that is equal over a channel, such as 0.1 (off)'],
  maxGradNorm: ['max-grad-norm', 'X', 'largest norm of all gradients together (off for textual-inversion)'],
  adamBeta1: ['adam-beta1', 'X', 'decay of the mean of the gradients'],
  adamBeta2: ['adam-beta2', 'X', 'decay of the mean of their squares'],
  adamWeightDecay: ['adam-weight-decay', 'X', 'weight decay'],
  adamWeightDecayTextEncoder: ['adam-weight-decay-text-encoder', 'X', 'weight decay of the text encoders'],
  adamEpsilon: ['adam-epsilon', 'X', 'added to the divisor'],
  useEma: ['use-ema', 'switch', 'keep a moving average of the weights instead of the last ones'],
  mixedPrecision: ['mixed-precision', 'NAME', 'no or fp16'],
  gradientCheckpointing: ['gradient-checkpointing', 'switch', 'compute activations again: less memory, more time'],
  seed: ['seed', 'N', 'of all random numbers (random)'],
  checkpointingSteps: ['checkpointing-steps', 'N', 'steps between checkpoints'],
  validationPrompt: ['validation-prompt', 'TEXT', 'prompt of sample pictures (the instance prompt)'],
  validationSteps: ['validation-steps', 'N', 'steps between sample pictures and measures, 0 for none'],
  numValidationImages: ['num-validation-images', 'N', 'sample pictures of a step'],
};

const SETTING_NAMES = Object.keys(SETTING_FLAGS) as readonly SettingName[];
/** Methods that learn from pairs of a picture and a control image. */
const PAIRED: readonly TrainingMethod[] = ['controlnet', 't2i-adapter'];
const RESUME_NAMES = ['latest', 'none'] as const;

/** A change of settings as it is given on the command line. */
export function flagsOf(change: SettingsChange): string {
  const flags = Object.entries(change).map(([name, value]) => {
    const flag = name === 'method' ? name : SETTING_FLAGS[name as SettingName][0];
    return value === true ? `--${flag}` : `--${flag} ${value}`;
  });
  return flags.join(' ');
}

const USAGE_WIDTH = 34;

function usageLine(name: SettingName): string {
  const [flag, value, help] = SETTING_FLAGS[name];
  const left = value === 'switch' ? `--[no-]${flag}` : `--${flag} ${value}`;
  return `  ${left.padEnd(USAGE_WIDTH)} ${help}${shownDefaults(name)}`;
}

const SD: ModelTraits = { family: 'sd', side: 512 };
/** Settings whose default the help tells in words. */
const EXPLAINED: readonly SettingName[] = ['resolution', 'loraAlpha', 'loraMultiplier', 'loraTargetModules'];

/** Lists the defaults of the methods, the usual one first, such as " (1; 4 for controlnet)". */
function shownDefaults(name: SettingName): string {
  if (EXPLAINED.includes(name)) return '';
  const methodsByValue = new Map<string, string[]>();
  const add = (value: string | undefined, label: string) => {
    if (value !== undefined) methodsByValue.set(value, [...(methodsByValue.get(value) ?? []), label]);
  };
  for (const method of TRAINING_METHODS.filter((candidate) => hasSetting(candidate, name))) {
    const value = shownDefault(name, method, SD);
    add(value, method);
    const valueForXl = shownDefault(name, method, { ...SD, family: 'sdxl' });
    if (valueForXl !== value) add(valueForXl, `${method} of SDXL`);
  }
  const groups = [...methodsByValue].sort(([, a], [, b]) => b.length - a.length);
  const parts = groups.map(([value, labels], i) => {
    const isUsual = groups.length === 1 || (i === 0 && labels.length > 2);
    return isUsual ? value : `${value} for ${labels.join(', ')}`;
  });
  return parts.length === 0 ? '' : ` (${parts.join('; ')})`;
}

function shownDefault(name: SettingName, method: TrainingMethod, model: ModelTraits): string | undefined {
  const defaults: Partial<SettingValues> = defaultSettings(method, model);
  const value = defaults[name];
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'number') return value < 1e-2 && value > 0 ? value.toExponential() : String(value);
  return value;
}

export const TRAIN_USAGE = `Usage: npm run train -- --method NAME --model FOLDER_OR_NAME --instance-images FOLDER --out FOLDER
  --method NAME                      ${TRAINING_METHODS.join(', ')}
  --instance-masks FOLDER            a mask per picture, white where the subject is
  --class-images FOLDER              pictures of the class (generated by the model)
  --conditioning-images FOLDER       a control image per picture, for ${PAIRED.join(' and ')}
  --resume-from-checkpoint NAME      latest or none (none)
  --from-checkpoint STEP             with --out alone: saves what the lesson had learned by then; a step, or latest
  --device NAME                      ${DEVICE_NAMES.join(', ')} (auto)
  --threads N                        threads of one operator (all cores)
  --memory-limit GIB                 refuses a lesson that will take more (what is free)
${SETTING_NAMES.map(usageLine).join('\n')}
The pocket model has defaults of its own for lessons of a subject: see worker/training/default-settings.ts`;

const texts = { type: 'string' } as const;
const OWN_OPTIONS = {
  method: texts,
  model: texts,
  out: texts,
  'instance-images': texts,
  'instance-masks': texts,
  'class-images': texts,
  'conditioning-images': texts,
  'resume-from-checkpoint': texts,
  device: texts,
  threads: texts,
  'memory-limit': texts,
} as const;
type OptionValues = Readonly<Record<string, string | boolean | undefined>>;

/** @throws UserError that names the option, the rule and the value received */
export function parseTrainFlags(args: string[]): TrainFlags {
  const values = readOptions(args);
  const folder = (name: keyof typeof OWN_OPTIONS) => (values[name] === undefined ? undefined : required(name, values));
  const method = parseName('method', required('method', values), TRAINING_METHODS);
  const flags = {
    model: required('model', values),
    out: required('out', values),
    instanceImages: required('instance-images', values),
    instanceMasks: folder('instance-masks'),
    classImages: folder('class-images'),
    conditioningImages: folder('conditioning-images'),
    device: parseName('device', String(values['device'] ?? 'auto'), DEVICE_NAMES),
    threads: values['threads'] === undefined ? undefined : parseCount('threads', String(values['threads'])),
    memoryLimitBytes: parseGibibytes('memory-limit', values['memory-limit']),
    isResumed:
      parseName('resume-from-checkpoint', String(values['resume-from-checkpoint'] ?? 'none'), RESUME_NAMES) ===
      'latest',
    settings: parseSettings(method, values),
  };
  checkFolders(method, flags);
  if (flags.classImages !== undefined && flags.settings.diffOutputPreservation) {
    throw new UserError('Cannot train: --diff-output-preservation needs no class pictures, got --class-images');
  }
  checkWords(flags.settings);
  checkTextEncoder(flags.settings);
  return flags;
}

function readOptions(args: string[]): OptionValues {
  const options: Record<string, { type: 'string' | 'boolean' }> = { ...OWN_OPTIONS };
  for (const [flag, value] of Object.values(SETTING_FLAGS)) {
    options[flag] = { type: value === 'switch' ? 'boolean' : 'string' };
    if (value === 'switch') options[`no-${flag}`] = { type: 'boolean' };
  }
  // Every option is of one value, which the general type of readFlags does not tell.
  return readFlags(args, options, TRAIN_USAGE) as OptionValues;
}

function required(name: keyof typeof OWN_OPTIONS, values: OptionValues): string {
  const value = values[name];
  if (value === undefined) throw missing(name);
  if (value === '') throw wrong(name, 'a name', value);
  return String(value);
}

function parseName<T extends string>(name: string, value: string, known: readonly T[]): T {
  const found = known.find((candidate) => candidate === value);
  if (found === undefined) throw wrong(name, `one of ${known.join(', ')}`, value);
  return found;
}

function parseCount(name: string, value: string): number {
  const number = parseNumber(value);
  if (!Number.isInteger(number) || number < 1) throw wrong(name, 'a whole number above 0', value);
  return number;
}

function parseGibibytes(name: string, value: OptionValues[string]): number | undefined {
  if (value === undefined) return undefined;
  const number = parseNumber(String(value));
  if (!(number > 0)) throw wrong(name, 'a number of GiB above 0', value);
  return number * 2 ** 30;
}

/** NaN for what is no number, which every rule refuses. */
function parseNumber(value: string): number {
  return value.trim() === '' ? Number.NaN : Number(value);
}

function parseSettings(method: TrainingMethod, values: OptionValues): GivenSettings {
  const given: Partial<Record<SettingName, string | number | boolean>> = {};
  for (const name of SETTING_NAMES) {
    const [flag, kind] = SETTING_FLAGS[name];
    const value = kind === 'switch' ? parseSwitch(flag, values) : values[flag];
    if (value === undefined) continue;
    if (!hasSetting(method, name)) throw wrongMethod(flag, method, methodsWith(name));
    const parsed = kind === 'N' || kind === 'X' ? parseNumber(String(value)) : value;
    const rule = brokenRule(name, parsed);
    if (rule !== undefined) throw wrong(flag, rule, value);
    given[name] = parsed;
  }
  // brokenRule has checked the type of every value.
  return { ...(given as Partial<SettingValues>), method };
}

function methodsWith(name: SettingName): TrainingMethod[] {
  return TRAINING_METHODS.filter((method) => hasSetting(method, name));
}

function parseSwitch(flag: string, values: OptionValues): boolean | undefined {
  const [isOn, isOff] = [values[flag] === true, values[`no-${flag}`] === true];
  if (isOn && isOff) throw new UserError(`Cannot train: --${flag} must be on or off, got --${flag} and --no-${flag}`);
  return isOn || isOff ? isOn : undefined;
}

function checkFolders(method: TrainingMethod, { classImages, conditioningImages }: Omit<TrainFlags, 'settings'>): void {
  if (classImages !== undefined && !hasSetting(method, 'withPriorPreservation')) {
    throw wrongMethod('class-images', method, methodsWith('withPriorPreservation'));
  }
  if (conditioningImages === undefined && PAIRED.includes(method)) throw missing('conditioning-images');
  if (conditioningImages !== undefined && !PAIRED.includes(method)) {
    throw wrongMethod('conditioning-images', method, PAIRED);
  }
}

function checkWords({ method, placeholderToken, initializerToken }: GivenSettings): void {
  if (method !== 'textual-inversion') return;
  if (placeholderToken === undefined) throw missing('placeholder-token');
  if (initializerToken === undefined) throw missing('initializer-token');
}

/** Settings of what does not learn would be ignored. */
function checkTextEncoder(settings: GivenSettings): void {
  if (settings.trainTextEncoder) return;
  for (const name of ['textEncoderLr', 'adamWeightDecayTextEncoder'] as const) {
    if (settings[name] === undefined) continue;
    throw new UserError(`Cannot train: --${SETTING_FLAGS[name][0]} must go with --train-text-encoder, got it alone`);
  }
}

function missing(flag: string): UserError {
  return new UserError(`Cannot train: --${flag} is missing\n${TRAIN_USAGE}`);
}

function wrongMethod(flag: string, method: TrainingMethod, methods: readonly TrainingMethod[]): UserError {
  return new UserError(`Cannot train: --${flag} must go with --method ${methods.join(' or ')}, got ${method}`);
}

function wrong(flag: string, rule: string, value: string | boolean): UserError {
  return new UserError(`Cannot train: --${flag} must be ${rule}, got ${JSON.stringify(value)}`);
}
