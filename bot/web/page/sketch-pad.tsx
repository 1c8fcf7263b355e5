import { signal, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { addImage, beginCommand, commandNamed, removeImage } from './draft.ts';
import { Icon } from './icons.tsx';
import { attempt } from './store.ts';
import { isBlank, paint, paintSegment, type Sketch, type Stroke, sketchToPng } from './strokes.ts';

interface Opening {
  /** The option that the sketch is for. */
  readonly option: string;
  /** Key of the picture that it takes the place of. */
  readonly replaces?: string | undefined;
  readonly sketch?: Sketch | undefined;
  /** A picture to trace, shown below the lines and never sent. */
  readonly traceUrl?: string | undefined;
}

const opened = signal<Opening | undefined>(undefined);

export function openSketchPad(opening: Opening): void {
  opened.value = opening;
}

/** Begins a command that follows a sketch, with the sheet first. */
export function drawSketch(): void {
  const command = commandNamed('sketch');
  if (!command) return;
  beginCommand(command);
  openSketchPad({ option: 'image' });
}

export function SketchPad() {
  return opened.value ? <Pad key={opened.value.option} opening={opened.value} /> : null;
}

const SHAPES = { square: [512, 512], portrait: [512, 768], landscape: [768, 512] } as const;

function Pad({ opening }: { opening: Opening }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const sketch = useSignal<Sketch>(opening.sketch ?? { width: 512, height: 512, strokes: [] });
  const undone = useSignal<readonly Stroke[]>([]);
  const tool = useSignal<'pen' | 'eraser'>('pen');
  const size = useSignal(8);
  const trace = useSignal(opening.traceUrl);
  const traceOpacity = useSignal(0.4);
  useEffect(() => dialog.current?.showModal(), []);
  const setStrokes = (strokes: readonly Stroke[], after: readonly Stroke[] = []) => {
    sketch.value = { ...sketch.value, strokes };
    undone.value = after;
  };
  const undo = () => {
    const last = sketch.value.strokes.at(-1);
    if (last) setStrokes(sketch.value.strokes.slice(0, -1), [last, ...undone.value]);
  };
  const redo = () => {
    const [next, ...rest] = undone.value;
    if (next) setStrokes([...sketch.value.strokes, next], rest);
  };
  const clear = () => setStrokes([...sketch.value.strokes, { tool: 'clear', size: 0, points: [] }]);
  const close = () => {
    opened.value = undefined;
  };
  const finish = () =>
    attempt(async () => {
      const png = await sketchToPng(sketch.value);
      if (opening.replaces) removeImage(opening.option, opening.replaces);
      close();
      await addImage(opening.option, png, 'sketch.png', sketch.value);
    });
  const onKeyDown = (event: KeyboardEvent) => {
    const key = event.key.toLowerCase();
    const isCommand = event.ctrlKey || event.metaKey;
    if (isCommand && key === 'z') return stopping(event, event.shiftKey ? redo : undo);
    if (isCommand && key === 'y') return stopping(event, redo);
    if (isCommand || (event.target as HTMLElement).tagName === 'INPUT') return;
    if (key === 'b') tool.value = 'pen';
    if (key === 'e') tool.value = 'eraser';
    if (key === '[') size.value = Math.max(1, size.value - 2);
    if (key === ']') size.value = Math.min(60, size.value + 2);
  };
  const shapeName = Object.entries(SHAPES).find(
    ([, [w, h]]) => w === sketch.value.width && h === sketch.value.height,
  )?.[0];
  return (
    <dialog class="pad" ref={dialog} onClose={close} onKeyDown={onKeyDown} aria-label="Draw a sketch">
      <div class="pad-tools" role="toolbar" aria-label="Tools">
        <button
          type="button"
          class="tool"
          aria-pressed={tool.value === 'pen'}
          title="Pen (B)"
          onClick={() => {
            tool.value = 'pen';
          }}
        >
          <Icon name="brush" /> pen
        </button>
        <button
          type="button"
          class="tool"
          aria-pressed={tool.value === 'eraser'}
          title="Eraser (E)"
          onClick={() => {
            tool.value = 'eraser';
          }}
        >
          <Icon name="eraser" /> eraser
        </button>
        <label class="tool-size">
          size
          <input
            type="range"
            min={1}
            max={60}
            value={size.value}
            onInput={(event) => {
              size.value = Number(event.currentTarget.value);
            }}
          />
          <output>{size.value}</output>
        </label>
        <button
          type="button"
          class="round"
          aria-label="Undo"
          title="Undo (Ctrl Z)"
          disabled={sketch.value.strokes.length === 0}
          onClick={undo}
        >
          <Icon name="undo" />
        </button>
        <button
          type="button"
          class="round"
          aria-label="Redo"
          title="Redo (Ctrl Y)"
          disabled={undone.value.length === 0}
          onClick={redo}
        >
          <Icon name="redo" />
        </button>
        <button
          type="button"
          class="round"
          aria-label="Clear"
          title="Clear"
          disabled={isBlank(sketch.value)}
          onClick={clear}
        >
          <Icon name="trash" />
        </button>
        <select
          aria-label="Shape of the sheet"
          value={shapeName}
          onChange={(event) => {
            const [width, height] = SHAPES[event.currentTarget.value as keyof typeof SHAPES];
            sketch.value = { ...sketch.value, width, height };
          }}
        >
          {Object.keys(SHAPES).map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
        <TraceTools trace={trace} opacity={traceOpacity} />
      </div>
      <div class="sheet-place">
        <div class={`paper is-${shapeName}`}>
          {trace.value && (
            <img class="trace" src={trace.value} alt="To trace" style={{ opacity: traceOpacity.value }} />
          )}
          <Canvas
            sketch={sketch.value}
            tool={tool.value}
            size={size.value}
            onStroke={(stroke) => setStrokes([...sketch.value.strokes, stroke])}
          />
        </div>
      </div>
      <div class="pad-foot">
        <span class="hint">B pen · E eraser · [ ] size · Ctrl Z undo</span>
        <button type="button" onClick={close}>
          Leave
        </button>
        <button type="button" class="primary" disabled={isBlank(sketch.value)} onClick={finish}>
          Use this sketch
        </button>
      </div>
    </dialog>
  );
}

function stopping(event: Event, deed: () => void): void {
  event.preventDefault();
  deed();
}

function TraceTools({ trace, opacity }: { trace: { value: string | undefined }; opacity: { value: number } }) {
  const choose = ({ currentTarget }: Event) => {
    const file = (currentTarget as HTMLInputElement).files?.[0];
    if (file) trace.value = URL.createObjectURL(file);
  };
  if (!trace.value) {
    return (
      <label class="tool">
        <Icon name="picture" /> trace a picture
        <input type="file" class="visually-hidden" accept="image/*" onChange={choose} />
      </label>
    );
  }
  return (
    <label class="tool-size">
      tracing
      <input
        type="range"
        min={0}
        max={1}
        step={0.05}
        value={opacity.value}
        onInput={(event) => {
          opacity.value = Number(event.currentTarget.value);
        }}
      />
      <button
        type="button"
        class="round"
        aria-label="Stop tracing"
        onClick={() => {
          trace.value = undefined;
        }}
      >
        <Icon name="close" />
      </button>
    </label>
  );
}

interface CanvasProps {
  readonly sketch: Sketch;
  readonly tool: 'pen' | 'eraser';
  readonly size: number;
  readonly onStroke: (stroke: Stroke) => void;
}

function Canvas({ sketch, tool, size, onStroke }: CanvasProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const points = useRef<[number, number, number][] | undefined>(undefined);
  const { width, height, strokes } = sketch;
  const context = () => canvas.current?.getContext('2d');
  useEffect(() => {
    const brush = context();
    if (brush) paint(brush, sketch);
  }, [strokes, width, height]);
  const extend = (event: PointerEvent) => {
    const brush = context();
    if (!points.current || !brush) return;
    for (const part of [...(event.getCoalescedEvents?.() ?? []), event])
      points.current.push(pointOf(part, brush.canvas));
    drawTail(brush, { tool, size, points: points.current });
  };
  const begin = (event: PointerEvent) => {
    if (event.button !== 0 || !event.isPrimary) return;
    canvas.current?.setPointerCapture(event.pointerId);
    points.current = [];
    extend(event);
  };
  const end = () => {
    if (points.current?.length) onStroke({ tool, size, points: points.current });
    points.current = undefined;
  };
  return (
    <canvas
      ref={canvas}
      width={width}
      height={height}
      class={`is-${tool}`}
      onPointerDown={begin}
      onPointerMove={extend}
      onPointerUp={end}
      onPointerCancel={end}
    >
      Drawing needs a mouse, a pen or a finger; with the keyboard, choose a file instead.
    </canvas>
  );
}

function pointOf({ clientX, clientY, pressure }: PointerEvent, canvas: HTMLCanvasElement): [number, number, number] {
  const box = canvas.getBoundingClientRect();
  const x = ((clientX - box.left) * canvas.width) / box.width;
  const y = ((clientY - box.top) * canvas.height) / box.height;
  return [x, y, pressure > 0 ? pressure : 0.5];
}

/** Shows a stroke as it grows; once it has ended all is painted anew, with its curves. */
function drawTail(brush: CanvasRenderingContext2D, stroke: Stroke): void {
  brush.globalCompositeOperation = stroke.tool === 'eraser' ? 'destination-out' : 'source-over';
  brush.lineCap = 'round';
  brush.lineJoin = 'round';
  brush.strokeStyle = '#000';
  for (let i = Math.max(0, stroke.points.length - 12); i < stroke.points.length; i++) paintSegment(brush, stroke, i);
  brush.globalCompositeOperation = 'source-over';
}
