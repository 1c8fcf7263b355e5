import { apply, greater, reshape, scalar, slice, where } from './operators.ts';
import type { Value } from './value.ts';

/**
 * Copies of values that are computed a second time, in the backward pass, from the ends of blocks: between the passes only
 * those have to be kept.
 * @see Chen et al. 2016 (arXiv 1604.06174), section 4.1
 */
export class Recomputation {
  readonly #blocks = new Map<Value, Block>();

  /**
   * The node of `value` with its inputs computed again. Has to be asked for in the order of the backward pass: a block's
   * end before what is inside. What no block's end depends on, such as the loss, is not computed again.
   * @param ct  the cotangent of the value: inputs of a block are not there to be computed from before its end's is
   */
  again(value: Value, ct: Value): Value {
    const block = value.endsBlock ? newBlock(ct) : this.#blocks.get(value);
    return block ? this.#copyNode(value, block) : value;
  }

  #copyNode(value: Value, block: Block): Value {
    const inputs = value.inputs.map((input) => input && this.#copy(input, block));
    // The operator and its attributes stay; inputs are replaced by values of the same kind, one by one.
    return apply(value.op, inputs as never, value.attributes as never);
  }

  #copy(value: Value, block: Block): Value {
    if (value.inputs.length === 0) return value;
    const known = block.copies.get(value);
    if (known) return known;
    const copy = value.endsBlock ? availableAfter(block.ct, value) : this.#copyNode(value, block);
    block.copies.set(value, copy);
    if (!value.endsBlock && !this.#blocks.has(value)) this.#blocks.set(value, block);
    return copy;
  }
}

interface Block {
  /** Cotangent of the block's end. */
  readonly ct: Value;
  readonly copies: Map<Value, Value>;
}

function newBlock(ct: Value): Block {
  return { ct, copies: new Map() };
}

/**
 * The same value, which ONNX Runtime cannot know before it has computed the cotangent: it orders nodes by what they read, and
 * would compute a mere copy of a node once only, or early. Nothing is greater than itself, not even NaN.
 */
function availableAfter(ct: Value, value: Value): Value {
  const size = ct.shape.reduce<number>((total, dim) => total * Number(dim), 1);
  const element = slice(reshape(ct, [size]), 0, [0, 1]);
  return where(greater(element, element), scalar(0, value), value);
}
