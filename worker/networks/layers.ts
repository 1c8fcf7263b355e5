/** Layers with parameters: each reads its weights from the scope that names it in the checkpoint. */
import { shapeToString } from '../graph/dim.ts';
import {
  conv,
  groupNormalization,
  layerNormalization,
  linear,
  loraConv,
  loraLinear,
  reshape,
} from '../graph/operators.ts';
import type { Scope } from '../graph/scope.ts';
import { GraphError, type Value } from '../graph/value.ts';

/** Linear with weight [out, in] and, unless told otherwise, bias [out]. */
export function dense(scope: Scope, x: Value, out: number, { hasBias = true } = {}): Value {
  return scope.describe(() => {
    const shape = [out, features(x, -1)];
    return applyLinear(scope, x, { weight: scope.parameter('weight', shape), hasBias, shape });
  });
}

/** A 1 x 1 convolution of the checkpoint, weight [out, in, 1, 1], applied to [..., in]. */
export function densePointwise(scope: Scope, x: Value, out: number): Value {
  return scope.describe(() => {
    const shape = [out, features(x, -1)];
    const weight = reshape(scope.parameter('weight', [...shape, 1, 1]), shape);
    return applyLinear(scope, x, { weight, hasBias: true, shape });
  });
}

interface LinearWeights {
  readonly weight: Value;
  readonly hasBias: boolean;
  readonly shape: readonly number[];
}

function applyLinear(scope: Scope, x: Value, { weight, hasBias, shape }: LinearWeights): Value {
  const bias = hasBias ? scope.parameter('bias', [shape[0]!]) : undefined;
  const lora = scope.lora(shape);
  return lora ? loraLinear(x, weight, bias, lora) : linear(x, weight, bias);
}

export interface Conv2dOptions {
  /** Side of the square kernel. */
  readonly kernel?: number;
  readonly stride?: number;
  /** Top, left, bottom, right; enough to keep the size at stride 1 by default. */
  readonly pads?: readonly [number, number, number, number];
  readonly hasBias?: boolean;
}

/** Convolution with weight [out, in, kernel, kernel] and bias [out]. */
export function conv2d(scope: Scope, x: Value, out: number, options: Conv2dOptions = {}): Value {
  const { kernel = 3, stride = 1, hasBias = true } = options;
  const padding = (kernel - 1) >> 1;
  return scope.describe(() => {
    const shape = [out, features(x, 1), kernel, kernel];
    const weight = scope.parameter('weight', shape);
    const bias = hasBias ? scope.parameter('bias', [out]) : undefined;
    const lora = scope.lora(shape);
    const { pads = [padding, padding, padding, padding] } = options;
    const attributes = { strides: [stride, stride], pads } as const;
    return lora ? loraConv(x, weight, bias, { ...attributes, lora }) : conv(x, weight, bias, attributes);
  });
}

export interface GroupNormOptions {
  readonly numGroups: number;
  readonly epsilon: number;
  readonly activation?: 'silu';
}

export function groupNorm(scope: Scope, x: Value, { numGroups, epsilon, activation }: GroupNormOptions): Value {
  return scope.describe(() => {
    const [weight, bias] = scaleAndShift(scope, features(x, 1));
    return groupNormalization(x, weight, bias, { numGroups, epsilon, activation });
  });
}

/** Over the last axis; every network of the family uses an epsilon of 1e-5. */
export function layerNorm(scope: Scope, x: Value, epsilon = 1e-5): Value {
  return scope.describe(() => {
    const [weight, bias] = scaleAndShift(scope, features(x, -1));
    return layerNormalization(x, weight, bias, epsilon);
  });
}

function scaleAndShift(scope: Scope, size: number): [weight: Value, bias: Value] {
  return [scope.parameter('weight', [size]), scope.parameter('bias', [size])];
}

function features(x: Value, axis: number): number {
  const dim = x.shape.at(axis);
  if (typeof dim === 'number') return dim;
  throw new GraphError(`needs a known number of features, got ${shapeToString(x.shape)}`);
}
