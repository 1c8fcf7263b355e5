import { UserError } from '../../shared/errors.ts';
import { SCHEDULER_NAMES, type SchedulerName } from '../diffusion/schedulers/create-scheduler.ts';
import { DEVICE_NAMES, type DeviceName } from '../runtime/device.ts';
import { readFlags } from './read-flags.ts';

export const GENERATE_USAGE = `Usage: npm run generate -- --model FOLDER_OR_NAME --prompt TEXT --out FILE.png
  --negative-prompt TEXT      what the picture should not show
  --steps N                   inference steps (50; 4 for LCM)
  --guidance-scale X          1 is off (7.5; 5 for SDXL; 8.5 for LCM)
  --guidance-rescale X        0 to 1 (0)
  --width N --height N        pixels, multiples of 8 (the model's own size)
  --seed N                    the same noise as PyTorch's CPU generator (random)
  --count N                   pictures, with seeds from --seed upwards (1)
  --scheduler NAME            ${SCHEDULER_NAMES.join(', ')} (the model's own)
  --eta X                     share of noise that ddim adds (0)
  --clip-skip N               layers of the text encoder to leave out (0)
  --image FILE --strength X   start from a picture; share of the schedule that is re-noised (0.8; 1 with a mask)
  --mask FILE                 repaint where it is white
  --controlnet FOLDER=IMAGE[,scale=X][,start=X][,end=X][,guess=true]    any number of times
  --adapter FOLDER=IMAGE[,scale=X][,start=X][,end=X]                    any number of times
  --lora FILE[,scale=X]       any number of times
  --embedding FILE            textual inversion; its token is the stored one or the file's name; any number of times
  --latents FILE              safetensors with the tensor "latents": noise of unit variance instead of the seed's
  --out-latents FILE          writes the final latents the same way
  --device NAME               ${DEVICE_NAMES.join(', ')} (auto)
  --threads N                 threads of one operator (all cores)
  --vae-tiling                decode in tiles: less memory for large pictures, slightly different ones
  --no-safety-checker         do not run the model's safety checker`;

/** An image that steers the picture, as written on the command line. */
export interface ControlFlag {
  readonly kind: 'controlnet' | 'adapter';
  /** Folder or name of the network. */
  readonly network: string;
  readonly image: string;
  readonly scale: number;
  readonly start: number;
  readonly end: number;
  readonly isGuessMode: boolean;
}

export interface GenerateFlags {
  readonly model: string;
  readonly prompt: string;
  readonly out: string;
  readonly negativePrompt: string | undefined;
  readonly steps: number | undefined;
  readonly guidanceScale: number | undefined;
  readonly guidanceRescale: number | undefined;
  readonly width: number | undefined;
  readonly height: number | undefined;
  readonly seed: number | undefined;
  readonly count: number;
  readonly scheduler: SchedulerName | undefined;
  readonly eta: number | undefined;
  readonly clipSkip: number | undefined;
  readonly image: string | undefined;
  readonly strength: number | undefined;
  readonly mask: string | undefined;
  readonly controls: readonly ControlFlag[];
  readonly loras: readonly { readonly file: string; readonly scale: number }[];
  readonly embeddings: readonly string[];
  readonly latents: string | undefined;
  readonly outLatents: string | undefined;
  readonly device: DeviceName;
  readonly threads: number | undefined;
  readonly isTiled: boolean;
  readonly isChecked: boolean;
}

const text = { type: 'string' } as const;
const texts = { type: 'string', multiple: true } as const;
const OPTIONS = {
  model: text,
  prompt: text,
  out: text,
  'negative-prompt': text,
  steps: text,
  'guidance-scale': text,
  'guidance-rescale': text,
  width: text,
  height: text,
  seed: text,
  count: text,
  scheduler: text,
  eta: text,
  'clip-skip': text,
  image: text,
  strength: text,
  mask: text,
  controlnet: texts,
  adapter: texts,
  lora: texts,
  embedding: texts,
  latents: text,
  'out-latents': text,
  device: text,
  threads: text,
  'vae-tiling': { type: 'boolean' },
  'no-safety-checker': { type: 'boolean' },
} as const;

/** @throws UserError that names the option, the rule and the value received */
export function parseGenerateFlags(args: string[]): GenerateFlags {
  const values = readOptions(args);
  const number = (name: string, value: string | undefined) =>
    value === undefined ? undefined : parseNumber(name, value);
  const count = (name: string, value: string | undefined) =>
    value === undefined ? undefined : parseCount(name, value);
  const flags = {
    model: required('model', values.model),
    prompt: required('prompt', values.prompt),
    out: required('out', values.out),
    negativePrompt: values['negative-prompt'],
    steps: count('steps', values.steps),
    guidanceScale: number('guidance-scale', values['guidance-scale']),
    guidanceRescale: number('guidance-rescale', values['guidance-rescale']),
    width: count('width', values.width),
    height: count('height', values.height),
    seed: number('seed', values.seed),
    count: count('count', values.count) ?? 1,
    scheduler: oneOf('scheduler', values.scheduler, SCHEDULER_NAMES),
    eta: number('eta', values.eta),
    clipSkip: number('clip-skip', values['clip-skip']),
    image: values.image,
    strength: number('strength', values.strength),
    mask: values.mask,
    controls: [
      ...(values.controlnet ?? []).map((flag) => parseControl('controlnet', flag)),
      ...(values.adapter ?? []).map((flag) => parseControl('adapter', flag)),
    ],
    loras: (values.lora ?? []).map(parseLora),
    embeddings: values.embedding ?? [],
    latents: values.latents,
    outLatents: values['out-latents'],
    device: oneOf('device', values.device, DEVICE_NAMES) ?? 'auto',
    threads: count('threads', values.threads),
    isTiled: values['vae-tiling'] ?? false,
    isChecked: !(values['no-safety-checker'] ?? false),
  };
  if (!/\.png$/i.test(flags.out)) throw wrong('out', 'a file name that ends in .png', flags.out);
  return flags;
}

function readOptions(args: string[]) {
  return readFlags(args, OPTIONS, GENERATE_USAGE);
}

function required(name: string, value: string | undefined): string {
  if (value === undefined) throw new UserError(`Cannot generate: --${name} is missing\n${GENERATE_USAGE}`);
  return value;
}

function parseNumber(name: string, value: string): number {
  const number = Number(value);
  if (value.trim() === '' || !Number.isFinite(number)) throw wrong(name, 'a number', value);
  return number;
}

function parseCount(name: string, value: string): number {
  const number = parseNumber(name, value);
  if (!Number.isInteger(number) || number < 1) throw wrong(name, 'a whole number above 0', value);
  return number;
}

function oneOf<T extends string>(name: string, value: string | undefined, known: readonly T[]): T | undefined {
  const found = known.find((candidate) => candidate === value);
  if (value !== undefined && found === undefined) throw wrong(name, `one of ${known.join(', ')}`, value);
  return found;
}

function wrong(name: string, rule: string, value: string): UserError {
  return new UserError(`Cannot generate: --${name} must be ${rule}, got ${JSON.stringify(value)}`);
}

/** Splits `,key=value` off the end, so that file names may hold commas and equals signs. */
function splitSettings(
  name: string,
  flag: string,
  known: readonly string[],
): { rest: string; settings: Record<string, string> } {
  const settings: Record<string, string> = {};
  const pattern = new RegExp(`^(.+),(${known.join('|')})=([^,=]*)$`, 's');
  let rest = flag;
  for (let match = pattern.exec(rest); match; match = pattern.exec(rest)) {
    const [, before, key, value] = match as unknown as [string, string, string, string];
    if (key in settings) throw wrong(name, `without a second ${key}`, flag);
    settings[key] = value;
    rest = before;
  }
  return { rest, settings };
}

function parseControl(kind: ControlFlag['kind'], flag: string): ControlFlag {
  const known = kind === 'controlnet' ? ['scale', 'start', 'end', 'guess'] : ['scale', 'start', 'end'];
  const { rest, settings } = splitSettings(kind, flag, known);
  const split = rest.indexOf('=');
  if (split <= 0 || split === rest.length - 1) throw wrong(kind, 'FOLDER=IMAGE', flag);
  const guess = settings['guess'] ?? 'false';
  if (guess !== 'true' && guess !== 'false') throw wrong(kind, 'given guess=true or guess=false', flag);
  return {
    kind,
    network: rest.slice(0, split),
    image: rest.slice(split + 1),
    scale: parseNumber(kind, settings['scale'] ?? '1'),
    start: parseNumber(kind, settings['start'] ?? '0'),
    end: parseNumber(kind, settings['end'] ?? '1'),
    isGuessMode: guess === 'true',
  };
}

function parseLora(flag: string): { file: string; scale: number } {
  const { rest, settings } = splitSettings('lora', flag, ['scale']);
  return { file: rest, scale: parseNumber('lora', settings['scale'] ?? '1') };
}
