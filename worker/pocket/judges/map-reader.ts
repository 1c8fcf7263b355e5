import { concat, resizeNearest, sigmoid } from '../../graph/operators.ts';
import type { Scope } from '../../graph/scope.ts';
import type { Value } from '../../graph/value.ts';
import { conv2d, groupNorm } from '../../networks/layers.ts';
import { SEGMENTS } from '../renderer/control-maps.ts';

/** Side of the pictures that it reads and of the maps that it gives, half that of the world's pictures. */
export const READ_SIDE = 64;

export const INK_CLASSES = 2;

export interface ReadMaps {
  /** Scores of no ink and of ink, the lines of a sketch, [N, 2, 64, 64]. */
  readonly ink: Value;
  /** Scores of the classes of `SEGMENTS`, [N, classes, 64, 64]. */
  readonly segments: Value;
  /** 0 far to 1 near, [N, 1, 64, 64]. */
  readonly depth: Value;
}

const DOWN = [8, 24, 40, 64, 64];
const UP = [48, 32, 24, 16];

/**
 * Describes the network that reads sketch, depth and segmentation from a picture: down to 4 x 4 and up again.
 * @param picture  [N, 3, 64, 64] in [-1, 1]
 */
export function mapReader(scope: Scope, picture: Value): ReadMaps {
  const levels: Value[] = [];
  for (const [index, channels] of DOWN.entries()) {
    const stride = index === 0 ? 1 : 2;
    levels.push(block(scope.at('down', index), levels.at(-1) ?? picture, { channels, stride }));
  }
  const features = levels.toReversed().reduce((x, skip, index) => {
    const larger = resizeNearest(x, skip.shape[2] ?? 1, skip.shape[3] ?? 1);
    return block(scope.at('up', index - 1), concat([larger, skip], 1), { channels: UP[index - 1] ?? 16, stride: 1 });
  });
  const head = (name: string, channels: number) => conv2d(scope.at('heads', name), features, channels, { kernel: 1 });
  return {
    ink: head('ink', INK_CLASSES),
    segments: head('segments', SEGMENTS.length),
    depth: sigmoid(head('depth', 1)),
  };
}

function block(scope: Scope, x: Value, { channels, stride }: { channels: number; stride: number }): Value {
  const convolved = conv2d(scope.at('conv'), x, channels, { stride });
  return groupNorm(scope.at('norm'), convolved, { numGroups: 4, epsilon: 1e-5, activation: 'silu' });
}
