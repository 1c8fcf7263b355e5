import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { UserError } from './errors.ts';

/** What the environment decides; every field has a default, so an empty environment is a valid one. */
export interface Config {
  /** Folder for everything that Sketchbooth writes. From DATA_DIR. */
  dataDir: string;
  /** Folder of model folders, searched by name. From MODELS_DIR; `models` inside dataDir by default. */
  modelsDir: string;
  /** Origin of the model hub, without a trailing slash. From HF_ENDPOINT. */
  hubEndpoint: string;
  /** Bearer token for the hub. From HF_TOKEN; undefined for anonymous access. */
  hubToken: string | undefined;
}

const environmentSchema = z.object({
  DATA_DIR: z.string().min(1).optional(),
  MODELS_DIR: z.string().min(1).optional(),
  HF_ENDPOINT: z.url({ protocol: /^https?$/ }).optional(),
  HF_TOKEN: z.string().min(1).optional(),
});

/**
 * Reads the configuration from environment variables.
 * @throws UserError that names each variable with a bad value
 */
export function loadConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const parsed = environmentSchema.safeParse(environment);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new UserError(`Cannot read the configuration: ${problems.join('; ')}`);
  }
  const variables = parsed.data;
  const dataDir = resolve(variables.DATA_DIR ?? join(homedir(), '.sketchbooth'));
  return {
    dataDir,
    modelsDir: resolve(variables.MODELS_DIR ?? join(dataDir, 'models')),
    hubEndpoint: (variables.HF_ENDPOINT ?? 'https://huggingface.co').replace(/\/+$/, ''),
    hubToken: variables.HF_TOKEN,
  };
}

/** Keeps ONNX Runtime from reporting usage; must run before onnxruntime-node is first imported. */
export function disableOnnxRuntimeTelemetry(): void {
  process.env['ORT_DISABLE_TELEMETRY'] = '1';
}
