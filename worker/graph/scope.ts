/** The naming of parameters: a place in a checkpoint, such as `down_blocks.0.resnets.1`, that knows its parameters. */
import { apply, type LoraFactors } from './operators.ts';
import { type Dtype, GraphError, type Value } from './value.ts';

/** What all scopes of one component share. */
export interface Component {
  /** Tells the parameters of several checkpoints in one graph apart, e.g. `unet` or `controlnet.0`. */
  readonly name: string;
  /** Dtype that the component computes in; parameters are cast to it at load. */
  readonly dtype: Dtype;
  /** A value that stands in for a tensor of the checkpoint, because it learns; undefined where the checkpoint is read. */
  readonly substitute?: (name: string, shape: readonly number[]) => Value | undefined;
  /** The fed update of a module's weight, or undefined where a module takes none. */
  readonly lora?: (path: string, weightShape: readonly number[]) => LoraFactors | undefined;
}

export class Scope {
  readonly component: Component;
  readonly path: string;

  constructor(component: Component, path = '') {
    this.component = component;
    this.path = path;
  }

  /** The scope of a child module; numbers are list positions. */
  at(...names: readonly (string | number)[]): Scope {
    return new Scope(this.component, [this.path, ...names].filter((name) => name !== '').join('.'));
  }

  /** A tensor of the checkpoint in the compute dtype of the component. */
  parameter(name: string, shape: readonly number[]): Value {
    const { name: component, dtype, substitute } = this.component;
    const { path } = this.at(name);
    return substitute?.(path, shape) ?? apply('Parameter', [], { name: path, component, shape, dtype });
  }

  /** The LoRA factors that are fed for this module's weight. */
  lora(weightShape: readonly number[]): LoraFactors | undefined {
    return this.component.lora?.(this.path, weightShape);
  }

  /** Runs a description; a mismatch inside is reported in the words of this scope, the innermost scope winning. */
  describe<T>(build: () => T): T {
    try {
      return build();
    } catch (error) {
      if (error instanceof GraphError && error.path === undefined) {
        throw new GraphError(error.rule, `${this.component.name}: ${this.path || 'top level'}`);
      }
      throw error;
    }
  }
}
