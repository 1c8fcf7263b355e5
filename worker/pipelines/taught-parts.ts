import type { ControlRequest } from '../diffusion/controls.ts';
import type { AppliedLora } from '../diffusion/lora-feeds.ts';
import type { ModelFolder } from '../diffusion/model-folder.ts';
import type { TextualInversion } from '../diffusion/textual-inversion-file.ts';
import type { LearnedFile } from '../training/learned-file.ts';

/** Tensors that learn, as they are after a step: on the disk and in memory. */
export interface Learned extends LearnedFile {
  readonly values: ReadonlyMap<string, Float32Array>;
}

/** What a lesson's tensors make of its model: the parts that a picture is made with. Absent is the model's own. */
export interface TaughtParts {
  /** The model with learned weights in the place of its own; they stay where the lesson wrote them. */
  readonly model?: ModelFolder;
  readonly loras?: readonly AppliedLora[];
  readonly embeddings?: readonly TextualInversion[];
  readonly control?: Pick<ControlRequest, 'kind' | 'folder'> & Required<Pick<ControlRequest, 'network'>>;
}
