import { UserError } from '../shared/errors.ts';
import { CONTROL_KINDS, CONTROL_METHODS, type Control, type ControlMethod } from '../shared/jobs.ts';
import type { Command, CommandContext, CommandOption } from './command.ts';
import { enqueuePicture, PICTURE_OPTIONS, PROMPT_OPTION } from './picture-options.ts';
import { type OptionValues, oneOf, readOptions, shown } from './read-options.ts';

/** The options of one map; the second and third map have the same names with their number. */
function mapOptions<const N extends '' | '2' | '3'>(n: N) {
  const which = n === '' ? 'The' : n === '2' ? 'A second' : 'A third';
  return [
    {
      name: `image${n}` as const,
      description: `${which} sketch, edges, depth, segmentation, pose, or a photo`,
      type: 'image',
    },
    {
      name: `kind${n}` as const,
      description: 'What the map is; found out by default',
      type: 'choice',
      choices: ['auto', ...CONTROL_KINDS],
    },
    {
      name: `strength${n}` as const,
      description: 'How much the map decides; 1 as trained',
      type: 'number',
      min: 0,
      max: 2,
    },
    {
      name: `method${n}` as const,
      description: 'Which kind of network follows the map',
      type: 'choice',
      choices: CONTROL_METHODS,
    },
    {
      name: `during${n}` as const,
      description: 'Start and end of its steering, as shares of the steps: 0-0.6 is the first 60 %',
      type: 'text',
      maxLength: 60,
      completes: 'spans',
    },
  ] as const satisfies readonly CommandOption[];
}

const [FIRST_IMAGE, ...FIRST_MAP] = mapOptions('');

const OPTIONS = [
  PROMPT_OPTION,
  { ...FIRST_IMAGE, isRequired: true },
  ...FIRST_MAP,
  {
    name: 'source',
    description: 'Whether the images are maps, or pictures to take the maps from',
    type: 'choice',
    choices: ['auto', 'map', 'picture'],
  },
  ...PICTURE_OPTIONS,
  ...mapOptions('2'),
  ...mapOptions('3'),
] as const satisfies readonly CommandOption[];

type SketchValues = OptionValues<typeof OPTIONS>;

export const sketch = {
  name: 'sketch',
  description: 'Draw a picture that follows a sketch or up to three control maps',
  options: OPTIONS,
  example:
    '/sketch prompt: a red car image: … kind: sketch strength: 0.8 during: 0-0.6 image2: … kind2: depth strength2: 0.5',
  act(invocation, context) {
    const values = readOptions('draw', OPTIONS, invocation);
    const controlsFor = (model: string) =>
      (['', '2', '3'] as const).flatMap((n) => controlOf(values, n, { model, context }) ?? []);
    return enqueuePicture(values, { invocation, context }, { controlsFor });
  },
} satisfies Command;

interface Setting {
  readonly model: string;
  readonly context: CommandContext;
}

function controlOf(values: SketchValues, n: '' | '2' | '3', setting: Setting): Control | undefined {
  const image = values[`image${n}`]?.[0];
  if (image === undefined) return refuseWithoutImage(values, n);
  const kind = values[`kind${n}`] ?? 'auto';
  return {
    image,
    kind,
    method: chooseMethod(kind, values[`method${n}`], setting),
    source: values.source ?? 'auto',
    conditioningScale: values[`strength${n}`] ?? 1,
    ...readDuring(values[`during${n}`]),
  };
}

function refuseWithoutImage(values: SketchValues, n: '' | '2' | '3'): undefined {
  for (const name of [`kind${n}`, `strength${n}`, `method${n}`, `during${n}`] as const) {
    if (values[name] !== undefined)
      throw new UserError(`Cannot draw: ${name} needs image${n}, got ${shown(values[name])} without one`);
  }
}

/** The method that was asked for, else the first that the model has a network for. */
function chooseMethod(
  kind: Control['kind'],
  asked: ControlMethod | undefined,
  { model, context }: Setting,
): ControlMethod {
  // Until a worker has said what it offers, the worker itself refuses what it cannot apply.
  if (!context.models.includes(model)) return asked ?? 'controlnet';
  const offered = context.controls.filter((control) => control.model === model);
  const fit = offered.filter((control) => kind === 'auto' || control.kind === kind);
  const method = CONTROL_METHODS.find(
    (name) => (asked ?? name) === name && fit.some((control) => control.method === name),
  );
  if (method !== undefined) return method;
  const wanted = [kind === 'auto' ? 'any map' : kind, ...(asked ? [`by ${asked}`] : [])].join(' ');
  const names = [...new Set(offered.map((control) => `${control.kind} by ${control.method}`))];
  throw new UserError(
    `Cannot draw: the control must be one that ${model} has (${names.length > 0 ? oneOf(names) : 'it has none'}), got ${wanted}`,
  );
}

/** Spans that are worth trying; what is in brackets is for the person. */
export const SPANS = [
  '0-1 (throughout)',
  '0-0.5 (the first half: layout follows, details are free)',
  '0-0.8 (all but the finish)',
  '0.2-1 (not the start: a looser layout)',
];

function readDuring(text: string | undefined): Pick<Control, 'controlGuidanceStart' | 'controlGuidanceEnd'> {
  if (text === undefined) return { controlGuidanceStart: 0, controlGuidanceEnd: 1 };
  const match = /^(\d*\.?\d+)\s*(%?)\s*(?:-|–|to)\s*(\d*\.?\d+)\s*(%?)\s*(?:\(.*\))?$/iu.exec(
    text.replaceAll(',', '.'),
  );
  const isPercent = match?.[2] === '%' || match?.[4] === '%';
  const [start, end] = [match?.[1], match?.[3]].map((digits) => Number(digits) / (isPercent ? 100 : 1));
  const isFit = start !== undefined && end !== undefined && start >= 0 && start < end && end <= 1;
  if (!isFit)
    throw new UserError(`Cannot draw: during must be start-end between 0 and 1, such as 0-0.6, got ${shown(text)}`);
  return { controlGuidanceStart: start, controlGuidanceEnd: end };
}
