import { z } from 'zod';

/** What a lesson's files must say, so that what was learned can be taken out of them without the command that began it. */
export const lessonIdentitySchema = z.object({
  /** Folder of the model that is taught. */
  model: z.string(),
  seed: z.int(),
  /** As completeSettings gave them, which reads them again. */
  settings: z.looseObject({ method: z.string() }),
  instancePrompt: z.string().optional(),
});
export type LessonIdentity = Readonly<z.infer<typeof lessonIdentitySchema>>;
