/** What each method makes of a model: the lesson, where its tensors start, and how the result is saved. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import type { LoraModule } from '../diffusion/lora-names.ts';
import type { ModelFolder, TextEncoderFolder } from '../diffusion/model-folder.ts';
import { readJsonFile } from '../diffusion/network-folder.ts';
import { type TextualInversion, tokensOf } from '../diffusion/textual-inversion-file.ts';
import { loadTokenizer } from '../diffusion/tokenizer.ts';
import { parseControlnetConfig } from '../networks/controlnet.ts';
import { denoiserComponents } from '../networks/denoiser.ts';
import { parseT2iAdapterConfig, totalDownscaleFactor, wantedFeatures } from '../networks/t2i-adapter.ts';
import type { Checkpoint } from '../runtime/checkpoint.ts';
import { elementCount } from '../runtime/element-count.ts';
import { joined } from '../runtime/joined.ts';
import { RandomGenerator } from '../runtime/random.ts';
import { loadTensor } from '../runtime/safetensors.ts';
import { findComponentWeights } from '../runtime/weight-files.ts';
import type { Trainable } from '../training/adamw.ts';
import { learnedCheckpoint, withLearned } from '../training/learned-file.ts';
import {
  controlnetLesson,
  fineTuneLesson,
  inversionName,
  type LessonOptions,
  learnedName,
  loraLesson,
  loraTensorNames,
  t2iAdapterLesson,
  textualInversionLesson,
} from '../training/lessons.ts';
import { loraModulesOf } from '../training/lora-modules.ts';
import { ALL_MODULES, isLoraTarget, moduleNames } from '../training/lora-targets.ts';
import { controlnetJson, t2iAdapterJson } from '../training/network-config.ts';
import { loadPromptTokenizer } from '../training/prompt-tokens.ts';
import { fillTemplate, OBJECT_TEMPLATES, STYLE_TEMPLATES } from '../training/prompts.ts';
import type { Conditions } from '../training/samples.ts';
import { saveEmbedding } from '../training/save-embedding.ts';
import { saveLora } from '../training/save-lora.ts';
import { saveModelFolder, saveNetworkFolder } from '../training/save-network.ts';
import type { SettingsOf, TrainingMethod, TrainingSettings } from '../training/settings.ts';
import type { TrainedTensors } from '../training/trained-tensors.ts';
import type { Lesson } from '../training/trainer.ts';
import type { Learned, TaughtParts } from './taught-parts.ts';

export interface LessonPlan {
  readonly lesson: Lesson;
  /** Loads or draws where the tensors that learn start, by name; they may be gigabytes. */
  readonly loadInitial: () => Promise<ReadonlyMap<string, Float32Array>>;
  /** Checkpoints of the frozen networks, by component. */
  readonly checkpoints: Readonly<Record<string, Checkpoint>>;
  /** Prompts of the lesson's own, of which each picture is shown under one. */
  readonly variants?: readonly Conditions[];
  /** What has been learned, put to use without being saved as a result. */
  readonly apply: (learned: Learned) => TaughtParts;
  /** Writes the result and returns the path to it. */
  readonly save: (trained: ReadonlyMap<string, Float32Array>, out: string) => Promise<string>;
}

/** Methods that can be run today. */
export type PlannedMethod = Exclude<TrainingMethod, 'from-scratch'>;

interface PlanOptions<M extends TrainingMethod> {
  readonly model: ModelFolder;
  readonly settings: SettingsOf<M>;
  readonly lesson: LessonOptions;
  readonly seed: number;
}

type MakePlan<M extends PlannedMethod> = (options: PlanOptions<M>) => Promise<LessonPlan>;

const plans: { readonly [M in PlannedMethod]: MakePlan<M> } = {
  dreambooth: fineTunePlan,
  'fine-tune': fineTunePlan,
  'dreambooth-lora': loraPlan,
  controlnet: controlnetPlan,
  't2i-adapter': t2iAdapterPlan,
  'textual-inversion': textualInversionPlan,
};

/** @throws UserError for a method that cannot be run yet */
export function planLesson(
  settings: TrainingSettings,
  options: Omit<PlanOptions<TrainingMethod>, 'settings'>,
): Promise<LessonPlan> {
  if (!isPlanned(settings.method)) {
    throw new UserError(
      `Cannot train with ${settings.method}: it is not there yet; there are ${Object.keys(plans).join(', ')}`,
    );
  }
  // Each method's plan takes the settings of its own method; the table cannot be indexed by a union without this.
  const plan = plans[settings.method] as MakePlan<PlannedMethod>;
  return plan({ ...options, settings: settings as SettingsOf<PlannedMethod> });
}

function isPlanned(method: TrainingMethod): method is PlannedMethod {
  return method in plans;
}

async function fineTunePlan({
  model,
  settings,
  lesson: options,
}: PlanOptions<'dreambooth' | 'fine-tune'>): Promise<LessonPlan> {
  const lesson = { ...fineTuneLesson(options), hasEma: settings.useEma };
  const components = learningComponents(model, options);
  const save = async (trained: ReadonlyMap<string, Float32Array>, out: string) => {
    const learned = withShapes(lesson.trainables, trained);
    const byComponent = components.map((component) => [component.name, tensorsOf(component, learned)]);
    await saveModelFolder({ source: model.folder, target: out }, Object.fromEntries(byComponent), { dtype: 'F32' });
    return out;
  };
  const loadInitial = async () => {
    const initial = new Map<string, Float32Array>();
    for (const component of components) await loadLearned(component, lesson.trainables, initial);
    return initial;
  };
  const apply = (learned: Learned) => ({ model: withLearnedParts(model, options, learned) });
  const checkpoints = options.isOutputPreserved ? frozenNetworks(model, options) : {};
  return { lesson, loadInitial, checkpoints, apply, save };
}

interface LearningComponent {
  readonly name: string;
  readonly checkpoint: Checkpoint;
}

/** The UNet, and the text encoders where they learn. */
function learningComponents(model: ModelFolder, options: LessonOptions): LearningComponent[] {
  const encoders = options.textEncoders ? model.textEncoders : [];
  return [unetOf(model), ...encoders.map(({ component, checkpoint }) => ({ name: component, checkpoint }))];
}

function withLearnedParts(model: ModelFolder, options: LessonOptions, learned: Learned): ModelFolder {
  const taught = new Map(
    learningComponents(model, options).map(({ name, checkpoint }) => {
      return [name, withLearned(checkpoint, learned, (tensor) => learnedName(name, tensor))];
    }),
  );
  const unet = { ...model.unet, checkpoint: taught.get(denoiserComponents.unet) ?? model.unet.checkpoint };
  const textEncoders = model.textEncoders.map((encoder) => {
    return { ...encoder, checkpoint: taught.get(encoder.component) ?? encoder.checkpoint };
  });
  return { ...model, unet, textEncoders };
}

function unetOf({ unet }: ModelFolder): LearningComponent {
  return { name: denoiserComponents.unet, checkpoint: unet.checkpoint };
}

async function loraPlan({
  model,
  settings,
  lesson: options,
  seed,
}: PlanOptions<'dreambooth-lora'>): Promise<LessonPlan> {
  const { loraRank: rank } = settings;
  const alpha = settings.loraMultiplier * settings.loraAlpha;
  const networkModules = loraModulesOf(model);
  refuseUnknownModules(settings.loraTargetModules, networkModules);
  const lesson = loraLesson(options, settings);
  // PEFT's gaussian start: down is normal with deviation 1 / rank, up is zero, so that the first step changes nothing.
  const loadInitial = async () => {
    const generator = new RandomGenerator(seed);
    const initial = lesson.trainables.map(({ name, shape }): [string, Float32Array] => {
      const size = elementCount(shape);
      return [
        name,
        name.endsWith(':down') ? generator.randn(size).map((value) => value / rank) : new Float32Array(size),
      ];
    });
    return new Map(initial);
  };
  const lorasOf = (trained: ReadonlyMap<string, Float32Array>) =>
    networkModules.flatMap(({ target, path }) => {
      const name = learnedName(target, path);
      const [down, up] = [trained.get(loraTensorNames.down(name)), trained.get(loraTensorNames.up(name))];
      return down && up ? [{ target, path, rank, alpha, down, up }] : [];
    });
  const apply = ({ values }: Learned) => {
    return { loras: [{ weights: lorasOf(values).map((lora) => ({ ...lora, scale: alpha / rank })), scale: 1 }] };
  };
  const save = async (trained: ReadonlyMap<string, Float32Array>, out: string) => {
    const loras = lorasOf(trained);
    await mkdir(out, { recursive: true });
    const file = join(out, 'pytorch_lora_weights.safetensors');
    await saveLora(file, loras, { format: 'diffusers', networkModules });
    if (settings.outputKohyaFormat) {
      await saveLora(join(out, 'pytorch_lora_weights_kohya.safetensors'), loras, { format: 'kohya', networkModules });
    }
    return file;
  };
  return { lesson, loadInitial, checkpoints: frozenNetworks(model, options), apply, save };
}

/** A name that is mistyped would otherwise be left out of the lesson without a word. */
function refuseUnknownModules(targets: string, modules: readonly LoraModule[]): void {
  if (targets === ALL_MODULES) return;
  const unknown = moduleNames(targets).filter((name) => !modules.some(({ path }) => isLoraTarget(path, name)));
  if (unknown.length === 0) return;
  throw new UserError(
    `Cannot train a LoRA: its target modules must be ends of the model's module paths, or "${ALL_MODULES}", got ${unknown.join(', ')}`,
  );
}

/** Widths of the published ControlNets' image embedding. */
const EMBEDDING_CHANNELS = [16, 32, 96, 256];

async function controlnetPlan({ model, lesson: options, seed }: PlanOptions<'controlnet'>): Promise<LessonPlan> {
  const unetJson = (await readJsonFile(join(model.folder, 'unet', 'config.json'))) as Record<string, unknown>;
  const config = controlnetJson(unetJson, { embeddingChannels: EMBEDDING_CHANNELS, conditioningChannels: 3 });
  const parsed = parseControlnetConfig(config);
  const lesson = controlnetLesson(options, parsed);
  const isZero = (name: string) =>
    /^controlnet_(down_blocks|mid_block)|^controlnet_cond_embedding\.conv_out/.test(name);
  const loadInitial = async () => {
    const generator = new RandomGenerator(seed);
    const copied = lesson.trainables.filter(({ name }) => !name.startsWith('controlnet_'));
    const initial = new Map<string, Float32Array>();
    await loadLearned(unetOf(model), copied, initial);
    for (const { name, shape } of lesson.trainables.filter(({ name }) => !initial.has(name))) {
      const size = elementCount(shape);
      initial.set(name, isZero(name) ? new Float32Array(size) : torchDefault(name, lesson.trainables, generator));
    }
    return initial;
  };
  const save = async (trained: ReadonlyMap<string, Float32Array>, out: string) => {
    const tensors = withShapes(lesson.trainables, trained);
    await saveNetworkFolder(out, { className: 'ControlNetModel', config, tensors }, { dtype: 'F32' });
    return out;
  };
  const apply = (learned: Learned): TaughtParts => {
    const network = { config: parsed, checkpoint: learnedCheckpoint(learned) };
    return { control: { kind: 'controlnet', folder: learned.file, network } };
  };
  return { lesson, loadInitial, checkpoints: frozenUnet(model), apply, save };
}

async function t2iAdapterPlan({
  model,
  settings,
  lesson: options,
  seed,
}: PlanOptions<'t2i-adapter'>): Promise<LessonPlan> {
  const widths = model.unet.config.blockOutChannels;
  const beginsWithAttention = model.unet.config.hasDownAttention[0]!;
  const config = parseT2iAdapterConfig(
    {
      adapter_type: beginsWithAttention ? 'full_adapter' : 'full_adapter_xl',
      channels: wantedFeatures(widths, beginsWithAttention),
      downscale_factor: beginsWithAttention ? 8 : 16,
    },
    `a T2I-Adapter for ${model.folder}`,
  );
  const factor = totalDownscaleFactor(config);
  if (settings.resolution % factor !== 0) {
    throw new UserError(
      `Cannot train a T2I-Adapter: the resolution must be a multiple of ${factor}, got ${settings.resolution}`,
    );
  }
  const lesson = t2iAdapterLesson(options, config);
  const loadInitial = async () => {
    const generator = new RandomGenerator(seed);
    return new Map(lesson.trainables.map(({ name }) => [name, torchDefault(name, lesson.trainables, generator)]));
  };
  const save = async (trained: ReadonlyMap<string, Float32Array>, out: string) => {
    const tensors = withShapes(lesson.trainables, trained);
    await saveNetworkFolder(
      out,
      { className: 'T2IAdapter', config: t2iAdapterJson(config), tensors },
      { dtype: 'F32' },
    );
    return out;
  };
  const apply = (learned: Learned): TaughtParts => {
    const network = { config, checkpoint: learnedCheckpoint(learned) };
    return { control: { kind: 'adapter', folder: learned.file, network } };
  };
  return { lesson, loadInitial, checkpoints: frozenUnet(model), apply, save };
}

async function textualInversionPlan({
  model,
  settings,
  lesson: options,
}: PlanOptions<'textual-inversion'>): Promise<LessonPlan> {
  const { textEncoders: encoders } = model;
  const { numVectors, placeholderToken: token, initializerToken, learnableProperty } = settings;
  const rows = new Map<string, Float32Array>();
  for (const encoder of encoders) rows.set(encoder.component, await initializerRow(encoder, initializerToken));
  const inversion = (vectorsOf: (encoder: TextEncoderFolder) => Float32Array[]): TextualInversion => ({
    token,
    vectors: Object.fromEntries(encoders.map((encoder) => [encoder.component, vectorsOf(encoder)])),
  });
  const initial = inversion(({ component }) => Array(numVectors).fill(rows.get(component)!));
  const learnedWords = tokensOf(initial);
  const tokenize = await loadPromptTokenizer(model, learnedWords);
  const templates = { object: OBJECT_TEMPLATES, style: STYLE_TEMPLATES }[learnableProperty];
  const variants = templates.map((template) => tokenize(fillTemplate(template, learnedWords)));
  const lesson = textualInversionLesson(options, encoders, numVectors);
  const loadInitial = async () => {
    return new Map(encoders.map(({ component }) => [inversionName(component), joined(initial.vectors[component]!)]));
  };
  const inversionOf = (trained: ReadonlyMap<string, Float32Array>) =>
    inversion(({ component, config: { hiddenSize } }) => {
      const values = trained.get(inversionName(component))!;
      return learnedWords.map((_, i) => values.slice(i * hiddenSize, (i + 1) * hiddenSize));
    });
  const apply = ({ values }: Learned) => ({ embeddings: [inversionOf(values)] });
  const save = async (trained: ReadonlyMap<string, Float32Array>, out: string) => {
    await mkdir(out, { recursive: true });
    const file = join(out, 'learned_embeds.safetensors');
    await saveEmbedding(file, inversionOf(trained));
    return file;
  };
  const frozen = encoders.map(({ component, checkpoint }) => [component, checkpoint] as const);
  const checkpoints = { ...frozenUnet(model), ...Object.fromEntries(frozen) };
  return { lesson, loadInitial, checkpoints, variants, apply, save };
}

/** The embedding that the new words start from. */
async function initializerRow(encoder: TextEncoderFolder, word: string): Promise<Float32Array> {
  const { config, checkpoint, tokenizerFolder } = encoder;
  const ids = (await loadTokenizer(tokenizerFolder)).tokenize(word);
  if (ids.length !== 1) {
    const got = `"${word}" of ${ids.length}`;
    throw new UserError(
      `Cannot train textual inversion: the initializer must be one token of the vocabulary, got ${got}`,
    );
  }
  const { tensors } = await findComponentWeights(checkpoint.folder);
  const stored = [...tensors.values()].find(({ name }) => name.endsWith('embeddings.token_embedding.weight'))!;
  const table = await loadTensor(stored);
  return table.slice(ids[0]! * config.hiddenSize, (ids[0]! + 1) * config.hiddenSize);
}

function frozenUnet({ unet }: ModelFolder): Record<string, Checkpoint> {
  return { [denoiserComponents.unet]: unet.checkpoint };
}

/** Checkpoints of the networks that learn, as they were before. */
function frozenNetworks(model: ModelFolder, options: LessonOptions): Record<string, Checkpoint> {
  return Object.fromEntries(learningComponents(model, options).map(({ name, checkpoint }) => [name, checkpoint]));
}

/** Adds the stored values of what learns of a component. */
async function loadLearned(
  { name: component, checkpoint }: LearningComponent,
  trainables: readonly Trainable[],
  initial: Map<string, Float32Array>,
): Promise<void> {
  const shapes = new Map(trainables.map(({ name, shape }) => [name, shape]));
  for (const [name, stored] of checkpoint.parameters) {
    const shape = shapes.get(learnedName(component, name));
    if (shape) initial.set(learnedName(component, name), await loadTensor({ ...stored, name, shape }));
  }
}

/** What a component learned, by the names of its checkpoint. */
function tensorsOf({ name: component, checkpoint }: LearningComponent, learned: TrainedTensors): TrainedTensors {
  return new Map(
    [...checkpoint.parameters.keys()].flatMap((name) => {
      const tensor = learned.get(learnedName(component, name));
      return tensor ? [[name, tensor] as const] : [];
    }),
  );
}

function withShapes(trainables: readonly Trainable[], trained: ReadonlyMap<string, Float32Array>): TrainedTensors {
  return new Map(trainables.map(({ name, shape }) => [name, { shape, values: trained.get(name)! }]));
}

/** torch's start of convolutions: weight and bias uniform within 1/√fan-in of the weight. */
function torchDefault(name: string, trainables: readonly Trainable[], generator: RandomGenerator): Float32Array {
  const weight = trainables.find((trainable) => trainable.name === name.replace(/bias$/, 'weight'))!;
  const own = trainables.find((trainable) => trainable.name === name)!;
  const bound = 1 / Math.sqrt(elementCount(weight.shape.slice(1)));
  return generator.uniform(elementCount(own.shape)).map((value) => (2 * value - 1) * bound);
}
