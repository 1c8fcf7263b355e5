/** Cutting a picture into overlapping tiles and blending the results back together. */

/** A picture of any number of channels, channel by channel and row by row. */
export interface Plane {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly data: Float32Array;
}

export function tileOrigins(size: number, stride: number): number[] {
  return Array.from({ length: Math.ceil(size / stride) }, (_, i) => i * stride);
}

/** Cuts a window out; what lies beyond the border is left off. */
export function cropTile(
  plane: Plane,
  { top, left, height, width }: { top: number; left: number; height: number; width: number },
): Plane {
  const cutHeight = Math.min(height, plane.height - top);
  const cutWidth = Math.min(width, plane.width - left);
  const data = new Float32Array(plane.channels * cutHeight * cutWidth);
  for (let c = 0; c < plane.channels; c++) {
    for (let y = 0; y < cutHeight; y++) {
      const from = (c * plane.height + top + y) * plane.width + left;
      data.set(plane.data.subarray(from, from + cutWidth), (c * cutHeight + y) * cutWidth);
    }
  }
  return { channels: plane.channels, height: cutHeight, width: cutWidth, data };
}

/**
 * Blends each tile linearly into its upper and left neighbours, which have been blended before, and joins what is kept.
 * @param options.blend  width of the overlap
 * @param options.keep  side that is kept of each tile
 */
export function blendTiles(
  rows: readonly (readonly Plane[])[],
  { blend, keep }: { blend: number; keep: number },
): Plane {
  const kept = rows.map((row, i) =>
    row.map((tile, j) => {
      const above = rows[i - 1]?.[j];
      const before = row[j - 1];
      if (above) blendEdge(above, tile, { blend, isVertical: true });
      if (before) blendEdge(before, tile, { blend, isVertical: false });
      return cropTile(tile, { top: 0, left: 0, height: keep, width: keep });
    }),
  );
  return joinTiles(kept);
}

/** Fades from the end of `from` into the start of `into`, in place. */
function blendEdge(from: Plane, into: Plane, { blend, isVertical }: { blend: number; isVertical: boolean }): void {
  const extent = isVertical ? Math.min(from.height, into.height, blend) : Math.min(from.width, into.width, blend);
  const [rows, columns] = isVertical ? [extent, into.width] : [into.height, extent];
  for (let c = 0; c < into.channels; c++) {
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const share = (isVertical ? y : x) / extent;
        const fromY = isVertical ? from.height - extent + y : y;
        const fromX = isVertical ? x : from.width - extent + x;
        const at = (c * into.height + y) * into.width + x;
        into.data[at] =
          from.data[(c * from.height + fromY) * from.width + fromX]! * (1 - share) + into.data[at]! * share;
      }
    }
  }
}

function joinTiles(rows: readonly (readonly Plane[])[]): Plane {
  const channels = rows[0]![0]!.channels;
  const height = rows.reduce((sum, row) => sum + row[0]!.height, 0);
  const width = rows[0]!.reduce((sum, tile) => sum + tile.width, 0);
  const data = new Float32Array(channels * height * width);
  let top = 0;
  for (const row of rows) {
    let left = 0;
    for (const tile of row) {
      for (let c = 0; c < channels; c++) {
        for (let y = 0; y < tile.height; y++) {
          const from = (c * tile.height + y) * tile.width;
          data.set(tile.data.subarray(from, from + tile.width), (c * height + top + y) * width + left);
        }
      }
      left += tile.width;
    }
    top += row[0]!.height;
  }
  return { channels, height, width, data };
}
