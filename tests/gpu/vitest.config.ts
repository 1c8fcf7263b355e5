import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

/** Tests for a machine with CUDA; the ordinary run does not see them. */
export default defineConfig({
  test: {
    root: join(import.meta.dirname, '..', '..'),
    include: ['tests/gpu/**/*.gpu.ts'],
    // One network at a time on the device.
    fileParallelism: false,
    testTimeout: 600_000,
    // Products of float32 matrices are rounded to 10 bits of mantissa otherwise, which no golden number allows.
    env: { NVIDIA_TF32_OVERRIDE: '0' },
  },
});
