/** A sketch as strokes, so that it can be undone, drawn on and sent as black on white. */
export interface Stroke {
  readonly tool: 'pen' | 'eraser' | 'clear';
  /** Width in pixels of the sketch. */
  readonly size: number;
  /** x and y in pixels of the sketch, pressure from 0 to 1. */
  readonly points: readonly (readonly [x: number, y: number, pressure: number])[];
}

export interface Sketch {
  readonly width: number;
  readonly height: number;
  readonly strokes: readonly Stroke[];
}

/** Draws all strokes on a canvas that shows the paper below where nothing is drawn. */
export function paint(canvas: CanvasRenderingContext2D, sketch: Sketch): void {
  canvas.clearRect(0, 0, sketch.width, sketch.height);
  for (const stroke of sketch.strokes) paintStroke(canvas, stroke, sketch);
}

export function isBlank({ strokes }: Sketch): boolean {
  const sinceClear = strokes.slice(strokes.findLastIndex(({ tool }) => tool === 'clear') + 1);
  return !sinceClear.some(({ tool }) => tool === 'pen');
}

/** @returns a PNG, black on white */
export function sketchToPng(sketch: Sketch): Promise<Blob> {
  const drawn = canvasOf(sketch);
  paint(drawn, sketch);
  const sheet = canvasOf(sketch);
  sheet.fillStyle = '#fff';
  sheet.fillRect(0, 0, sketch.width, sketch.height);
  sheet.drawImage(drawn.canvas, 0, 0);
  return new Promise((resolve, reject) => {
    sheet.canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('Cannot export the sketch'))), 'image/png');
  });
}

function canvasOf({ width, height }: Sketch): CanvasRenderingContext2D {
  const context = Object.assign(document.createElement('canvas'), { width, height }).getContext('2d');
  if (!context) throw new Error('Cannot draw: this browser has no canvas');
  return context;
}

function paintStroke(canvas: CanvasRenderingContext2D, stroke: Stroke, { width, height }: Sketch): void {
  if (stroke.tool === 'clear') {
    canvas.clearRect(0, 0, width, height);
    return;
  }
  canvas.globalCompositeOperation = stroke.tool === 'eraser' ? 'destination-out' : 'source-over';
  canvas.strokeStyle = '#000';
  canvas.lineCap = 'round';
  canvas.lineJoin = 'round';
  const { points } = stroke;
  for (let i = 0; i < points.length; i++) paintSegment(canvas, stroke, i);
  canvas.globalCompositeOperation = 'source-over';
}

/** The piece of a stroke around point i: a curve between the midpoints beside it. */
export function paintSegment(canvas: CanvasRenderingContext2D, { points, size }: Stroke, i: number): void {
  const point = points[i];
  if (!point) return;
  const [x, y, pressure] = point;
  const before = points[i - 1] ?? point;
  const after = points[i + 1] ?? point;
  // Mice press with one half always: that is the width chosen.
  canvas.lineWidth = Math.max(1, size * (0.5 + pressure));
  canvas.beginPath();
  canvas.moveTo((before[0] + x) / 2, (before[1] + y) / 2);
  canvas.quadraticCurveTo(x, y, (x + after[0]) / 2 + (points.length === 1 ? 0.01 : 0), (y + after[1]) / 2);
  canvas.stroke();
}
