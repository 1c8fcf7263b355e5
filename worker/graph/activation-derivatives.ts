import { add, erf, exp, mul, scalar, sigmoid, sub } from './operators.ts';
import type { Value } from './value.ts';

/** d/dx of x·sigmoid(a·x): s·(1 + a·x·(1 - s)). */
export function siluDerivative(x: Value, alpha: number): Value {
  const scaled = alpha === 1 ? x : mul(scalar(alpha, x), x);
  const s = sigmoid(scaled);
  return mul(s, add(scalar(1, x), mul(scaled, sub(scalar(1, x), s))));
}

/** d/dx of x·Φ(x): Φ(x) + x·φ(x), with the normal distribution Φ and its density φ. */
export function geluDerivative(x: Value): Value {
  const distribution = mul(scalar(0.5, x), add(scalar(1, x), erf(mul(scalar(Math.SQRT1_2, x), x))));
  const density = mul(scalar(1 / Math.sqrt(2 * Math.PI), x), exp(mul(scalar(-0.5, x), mul(x, x))));
  return add(distribution, mul(x, density));
}
