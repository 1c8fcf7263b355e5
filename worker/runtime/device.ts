import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { encodeOnnxModel } from '../graph/onnx-model.ts';
import { createSession, type Device } from './session.ts';

export const DEVICE_NAMES = ['auto', 'cpu', 'webgpu', 'cuda'] as const;
export type DeviceName = (typeof DEVICE_NAMES)[number];

export interface ChosenDevice {
  readonly device: Device;
  /** What was taken and why, for the person. */
  readonly reason: string;
}

/**
 * Chooses the device that a name asks for. `auto` takes CUDA where it works and the CPU otherwise; WebGPU only runs when
 * asked for, since a software driver of Vulkan would be slower than the CPU and cannot be told apart from here.
 * @throws UserError that says what to install where a device that was named is missing
 */
export async function chooseDevice(name: DeviceName): Promise<ChosenDevice> {
  if (name === 'cpu') return { device: name, reason: 'cpu, as asked for' };
  if (name !== 'auto') {
    await tryDevice(name);
    return { device: name, reason: `${name}, as asked for` };
  }
  if (!hasCudaProvider()) {
    return { device: 'cpu', reason: 'cpu, taken by auto: there is no CUDA provider library beside onnxruntime-node' };
  }
  try {
    await tryDevice('cuda');
    return { device: 'cuda', reason: 'cuda, found by auto' };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { device: 'cpu', reason: `cpu, taken by auto: ${why}` };
  }
}

/** ONNX Runtime prints an error of its own when it is asked for a library that is not there. */
function hasCudaProvider(): boolean {
  const root = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
  const folder = join(root, 'bin', 'napi-v6', process.platform, process.arch);
  return existsSync(join(folder, 'libonnxruntime_providers_cuda.so'));
}

/** Creates a session that does nothing: the providers load their libraries only then. */
async function tryDevice(device: Exclude<Device, 'cpu'>): Promise<void> {
  const value = { dtype: 'float32', dims: [1] } as const;
  const model = encodeOnnxModel({
    name: 'probe',
    nodes: [{ opType: 'Neg', domain: '', name: 'neg', inputs: ['x'], outputs: ['y'], attributes: {} }],
    initializers: [],
    inputs: [{ name: 'x', ...value }],
    outputs: [{ name: 'y', ...value }],
  });
  const session = await createSession(model, { device });
  await session.dispose();
}
