/** The contract between bot and worker: what a job is, what is told of it while it runs, and what comes of it. Plain JSON. */
import { z } from 'zod';

/** Name of a blob in the store: the sha256 of its bytes in hex. */
const blobHash = z.string().regex(/^[0-9a-f]{64}$/, 'a sha256 in lower-case hex');

/** A stored file: a picture, a control map, a photo or weights. */
export const blobRefSchema = z.object({
  hash: blobHash,
  /** Media type that its bytes were found to have, such as image/png. */
  type: z.string(),
  sizeBytes: z.int().nonnegative(),
  /** What its sender called it; for showing, never for opening. */
  name: z.string().optional(),
});
export type BlobRef = z.infer<typeof blobRefSchema>;

export const PLATFORM_NAMES = ['discord', 'slack', 'web'] as const;
export type PlatformName = (typeof PLATFORM_NAMES)[number];

/** A person, as their platform knows them. */
export const actorSchema = z.object({
  platform: z.enum(PLATFORM_NAMES),
  userId: z.string().min(1),
  displayName: z.string(),
});
export type Actor = z.infer<typeof actorSchema>;

/** Where something was said. */
export const placeSchema = z.object({
  platform: z.enum(PLATFORM_NAMES),
  /** Guild or workspace; undefined in direct messages. */
  serverId: z.string().optional(),
  channelId: z.string().min(1),
  threadId: z.string().optional(),
});
export type Place = z.infer<typeof placeSchema>;

/** Where a result goes, whole: a job outlives the process and the interaction that it came from. */
export const replyToSchema = z.object({
  place: placeSchema,
  owner: actorSchema,
  /** Largest file that may be attached there. */
  uploadLimitBytes: z.int().positive(),
});
export type ReplyTo = z.infer<typeof replyToSchema>;

export const CONTROL_KINDS = ['sketch', 'canny', 'depth', 'segmentation', 'pose'] as const;
export type ControlKind = (typeof CONTROL_KINDS)[number];
export const CONTROL_METHODS = ['controlnet', 't2i-adapter'] as const;
export type ControlMethod = (typeof CONTROL_METHODS)[number];

const share = z.number().min(0).max(1);

/** One control image of a picture. */
export const controlSchema = z.object({
  image: blobRefSchema,
  /** `auto` lets the worker look at the image; what it found is in the result's receipt. */
  kind: z.enum([...CONTROL_KINDS, 'auto']),
  method: z.enum(CONTROL_METHODS),
  /** Whether the image is a photo or picture whose map is to be extracted first; `auto` lets the worker decide. */
  source: z.enum(['map', 'picture', 'auto']),
  conditioningScale: z.number().min(0).max(2),
  controlGuidanceStart: share,
  controlGuidanceEnd: share,
});
export type Control = z.infer<typeof controlSchema>;

/** A taught subject that a prompt names. */
export const appliedConceptSchema = z.object({
  conceptId: z.string(),
  name: z.string(),
  /** What stands for the name in the prompt, such as "nts backpack". */
  promptText: z.string(),
  kind: z.enum(['lora', 'embedding', 'model']),
  /** Weights: one file, or the files of a model folder by their path in it. */
  files: z.record(z.string(), blobRefSchema),
  scale: z.number().min(0).max(2),
});
export type AppliedConcept = z.infer<typeof appliedConceptSchema>;

export const pictureJobSchema = z.object({
  kind: z.literal('picture'),
  /** As typed, names of concepts included. */
  prompt: z.string().min(1).max(2000),
  negativePrompt: z.string().max(2000).optional(),
  model: z.string().min(1),
  /** Undefined leaves it to the model. */
  width: z.int().positive().optional(),
  height: z.int().positive().optional(),
  numInferenceSteps: z.int().min(1).max(150).optional(),
  guidanceScale: z.number().min(1).max(30).optional(),
  scheduler: z.string().optional(),
  /** Of the first picture; picture i has seed + i. */
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1),
  count: z.int().min(1).max(4),
  image: blobRefSchema.optional(),
  strength: z.number().positive().max(1).optional(),
  controls: z.array(controlSchema),
  concepts: z.array(appliedConceptSchema),
});
export type PictureJob = z.infer<typeof pictureJobSchema>;

export const LESSON_METHODS = ['dreambooth-lora', 'dreambooth', 'textual-inversion'] as const;

export const lessonJobSchema = z.object({
  kind: z.literal('lesson'),
  conceptId: z.string(),
  /** What people will call the subject. */
  name: z.string().min(1).max(64),
  classNoun: z.string().min(1).max(64),
  model: z.string().min(1),
  method: z.enum(LESSON_METHODS),
  photos: z.array(blobRefSchema).min(3).max(5),
  /** Undefined leaves it to method and model. */
  maxTrainSteps: z.int().positive().optional(),
  withPriorPreservation: z.boolean().optional(),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1),
  isKeepingPhotos: z.boolean(),
  /** Who agreed, where the class is a person: the person who asks is on the photos, or says that the person agreed. */
  consent: z.enum(['self', 'given']).optional(),
});
export type LessonJob = z.infer<typeof lessonJobSchema>;

export const jobSchema = z.discriminatedUnion('kind', [pictureJobSchema, lessonJobSchema]);
/** Everything that affects the result; never a live chat object. */
export type Job = z.infer<typeof jobSchema>;
export type JobKind = Job['kind'];

export const JOB_STATES = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const;
export type JobState = (typeof JOB_STATES)[number];

export const jobProgressSchema = z.object({
  /** What goes on, in words for the person: "Loading the model", "Drawing". */
  stage: z.string(),
  step: z.int().nonnegative(),
  stepCount: z.int().positive(),
  /** Of a picture that is not finished, or of a lesson's newest sample. */
  preview: blobRefSchema.optional(),
  /** Samples of a lesson so far, oldest first. */
  samples: z.array(z.object({ step: z.int(), picture: blobRefSchema })).optional(),
  loss: z.number().optional(),
  /** Seconds until the end: half of all jobs are done by the first, nine in ten by the second. */
  etaSeconds: z.tuple([z.number(), z.number()]).optional(),
});
export type JobProgress = z.infer<typeof jobProgressSchema>;

/** A control as it was applied. */
export const appliedControlSchema = z.object({
  kind: z.enum(CONTROL_KINDS),
  method: z.enum(CONTROL_METHODS),
  network: z.string(),
  map: blobRefSchema,
  conditioningScale: z.number(),
  controlGuidanceStart: z.number(),
  controlGuidanceEnd: z.number(),
  /** How the image was read, for the person: "looks like a line drawing, white on black: used as it is". */
  reading: z.string(),
  /** How well the result follows the map, 0 to 1; undefined where it cannot be measured. */
  adherence: share.optional(),
});

export const pictureResultSchema = z.object({
  kind: z.literal('picture'),
  pictures: z.array(
    z.object({ blob: blobRefSchema, width: z.int(), height: z.int(), seed: z.int(), altText: z.string() }),
  ),
  receipt: z.object({
    prompt: z.string(),
    negativePrompt: z.string().optional(),
    model: z.string(),
    numInferenceSteps: z.int(),
    guidanceScale: z.number(),
    scheduler: z.string().optional(),
    controls: z.array(appliedControlSchema),
    concepts: z.array(z.object({ name: z.string(), scale: z.number() })),
    device: z.string(),
    durationSeconds: z.number(),
    /** What the person should know: words left out, a control that was resized. */
    notes: z.array(z.string()),
  }),
});
export type PictureResult = z.infer<typeof pictureResultSchema>;

export const lessonResultSchema = z.object({
  kind: z.literal('lesson'),
  conceptId: z.string(),
  appliedAs: appliedConceptSchema.pick({ promptText: true, kind: true, files: true }),
  samples: z.array(z.object({ step: z.int(), picture: blobRefSchema })),
  lossCurve: blobRefSchema.optional(),
  receipt: z.object({
    model: z.string(),
    method: z.enum(LESSON_METHODS),
    steps: z.int(),
    finalLoss: z.number(),
    /** See worker/training for the definitions. */
    drift: z.number().optional(),
    likeness: z.number().optional(),
    device: z.string(),
    durationSeconds: z.number(),
    notes: z.array(z.string()),
  }),
});
export type LessonResult = z.infer<typeof lessonResultSchema>;

export const jobResultSchema = z.discriminatedUnion('kind', [pictureResultSchema, lessonResultSchema]);
export type JobResult = z.infer<typeof jobResultSchema>;

/** How a job ended for its worker; a fault of the program or the machine is none of these and is tried again. */
export const jobOutcomeSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('done'), result: jobResultSchema }),
  /** The person can do something about it; the reason is fit to be shown as it is. */
  z.object({ kind: z.literal('refused'), reason: z.string() }),
  z.object({ kind: z.literal('cancelled') }),
]);
export type JobOutcome = z.infer<typeof jobOutcomeSchema>;
