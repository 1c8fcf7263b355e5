import type { OpName, Value, ValueOf } from './value.ts';

/** Operators that only gradients emit: nothing is differentiated twice. */
export type GradientOp = 'ConvInputGradient' | 'ConvWeightGradient' | 'GatherGradient';
export type DifferentiableOp = Exclude<OpName, GradientOp>;

/** Makes the cotangent of one input when it is asked for; undefined where the input has none. */
export type Cotangent = (() => Value) | undefined;

/** From the cotangent of a node's result to the cotangents of its inputs, in their order. */
export type VjpRule<Op extends OpName> = (ct: Value, value: ValueOf<Op>) => readonly Cotangent[];
