import { availableParallelism } from 'node:os';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { disableOnnxRuntimeTelemetry } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';

disableOnnxRuntimeTelemetry();
// Imported here and not above: ONNX Runtime reads the environment variable while it is loaded.
const ort = await import('onnxruntime-node');

export type Device = 'cpu' | 'webgpu' | 'cuda';

/**
 * A tensor in main memory. Whoever holds it owns its data; a session copies nothing on the way in and returns arrays
 * that nobody else holds.
 */
export type Tensor =
  | { readonly dtype: 'float32'; readonly dims: readonly number[]; readonly data: Float32Array }
  | { readonly dtype: 'int64'; readonly dims: readonly number[]; readonly data: BigInt64Array }
  | { readonly dtype: 'bool'; readonly dims: readonly number[]; readonly data: Uint8Array };

export interface SessionOptions {
  readonly device: Device;
  /** Threads of one operator; all cores by default. */
  readonly threads?: number;
  /** Fails at creation if any node would run on the CPU although another device was chosen. */
  readonly forbidCpuFallback?: boolean;
  /** Writes a trace that chrome://tracing reads to `<prefix>_<time>.json` when the session is disposed of. */
  readonly profilePrefix?: string;
}

/** A loaded model on a device. Created by createSession; must be disposed of by whoever created it. */
export class Session {
  readonly device: Device;
  readonly inputNames: readonly string[];
  #session: InferenceSession | undefined;
  readonly #isProfiled: boolean;

  constructor(session: InferenceSession, options: SessionOptions) {
    this.#session = session;
    this.device = options.device;
    this.inputNames = session.inputNames;
    this.#isProfiled = options.profilePrefix !== undefined;
  }

  /**
   * Runs the model; the calling thread is blocked meanwhile.
   * @param into  arrays of the caller that outputs are written into, by name
   * @returns all other outputs, in arrays of their own
   * @throws Error if an input is missing or not known, or after dispose
   */
  async run(
    feeds: Readonly<Record<string, Tensor>>,
    into: Readonly<Record<string, Tensor>> = {},
  ): Promise<Record<string, Tensor>> {
    if (!this.#session) throw new Error('Cannot run the session: it has been disposed of');
    const missing = this.inputNames.filter((name) => !(name in feeds));
    const unknown = Object.keys(feeds).filter((name) => !this.inputNames.includes(name));
    if (missing.length + unknown.length > 0) {
      throw new Error(
        `Cannot run the session: its inputs must be fed exactly, got none for [${missing}] and unknown [${unknown}]`,
      );
    }
    const fetches = this.#session.outputNames.map((name) => [name, into[name] ? toOrt(into[name]) : null] as const);
    const results = await this.#session.run(mapValues(feeds, toOrt), Object.fromEntries(fetches));
    // The binding copies whatever it returns, also what it has written into the caller's arrays.
    for (const name of Object.keys(into)) Reflect.deleteProperty(results, name);
    return mapValues(results, fromOrt);
  }

  async dispose(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    if (session && this.#isProfiled) session.endProfiling();
    await session?.release();
  }
}

/**
 * Loads an ONNX ModelProto whose external data is addressed from the root of the file system.
 * @throws UserError that says what to install where the device is not there
 */
export async function createSession(model: Uint8Array, options: SessionOptions): Promise<Session> {
  const { device, threads = availableParallelism(), forbidCpuFallback = false, profilePrefix } = options;
  try {
    const session = await ort.InferenceSession.create(model, {
      executionProviders: [device],
      intraOpNumThreads: threads,
      // `all` takes several times as long to create and was not faster to run.
      graphOptimizationLevel: 'extended',
      // A pattern is one block for a whole run beside the arena's own: 0.6 GiB more for Stable Diffusion 1.5, no faster.
      ...(device === 'cpu' && { enableMemPattern: false }),
      logSeverityLevel: 3,
      ...(profilePrefix !== undefined && { enableProfiling: true, profileFilePrefix: profilePrefix }),
      extra: {
        session: {
          model_external_initializers_file_folder_path: '/',
          disable_cpu_ep_fallback: forbidCpuFallback ? '1' : '0',
          // Packed copies of the weights save no time on matrices of hundreds of rows; without them the weights stay in
          // the files' pages, and a session of Stable Diffusion 1.5 is there in 1 s instead of 2.3.
          disable_prepacking: device === 'cpu' ? '1' : '0',
        },
      },
    });
    return new Session(session, options);
  } catch (error) {
    if (device !== 'cpu' && isProviderMissing(error)) throw missingDevice(device, error);
    throw error;
  }
}

function isProviderMissing(error: unknown): boolean {
  return /execution provider|ExecutionProvider|backend not found|shared library|adapter|libvulkan|CUDA (driver|failure)/i.test(
    String(error),
  );
}

function missingDevice(device: Exclude<Device, 'cpu'>, cause: unknown): UserError {
  const advice = {
    cuda:
      'needs an NVIDIA driver of series 580 or newer, CUDA 13, cuBLAS and cuDNN 9, and libonnxruntime_providers_cuda.so and ' +
      `_shared.so of version ${ort.env.versions.node} beside libonnxruntime.so.1 of onnxruntime-node`,
    webgpu:
      'needs libvulkan.so.1 and a Vulkan driver for the graphics card (Debian: libvulkan1 and mesa-vulkan-drivers)',
  };
  return new UserError(`Cannot use device ${device}: it ${advice[device]}, got "${firstLine(cause)}"`, { cause });
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split('\n')[0]!;
}

function toOrt(tensor: Tensor): OrtTensor {
  return new ort.Tensor(tensor.dtype, tensor.data, tensor.dims) as OrtTensor;
}

function fromOrt(tensor: OrtTensor): Tensor {
  const { type, data, dims } = tensor;
  if (type === 'float32') return { dtype: type, data: data as Float32Array, dims };
  if (type === 'int64') return { dtype: type, data: data as BigInt64Array, dims };
  if (type === 'bool') return { dtype: type, data: data as Uint8Array, dims };
  throw new Error(`Cannot read a result: its dtype must be float32, int64 or bool, got ${type}`);
}

function mapValues<A, B>(record: Readonly<Record<string, A>>, convert: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, convert(value)]));
}

export function float32Tensor(data: Float32Array, dims: readonly number[]): Tensor {
  return { dtype: 'float32', data, dims };
}

export function int64Tensor(values: readonly number[], dims: readonly number[]): Tensor {
  return { dtype: 'int64', data: BigInt64Array.from(values, BigInt), dims };
}

export function boolTensor(value: boolean): Tensor {
  return { dtype: 'bool', data: Uint8Array.of(value ? 1 : 0), dims: [] };
}
