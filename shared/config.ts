import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { UserError } from './errors.ts';

/** What the environment decides; every field has a default, so an empty environment is a valid one. */
export interface Config {
  /** Folder for everything that Sketchbooth writes. From DATA_DIR. */
  readonly dataDir: string;
  /** Folder of model folders, searched by name. From MODELS_DIR; `models` inside dataDir by default. */
  readonly modelsDir: string;
  /** Origin of the model hub, without a trailing slash. From HF_ENDPOINT. */
  readonly hubEndpoint: string;
  /** Bearer token for the hub. From HF_TOKEN; undefined for anonymous access. */
  readonly hubToken: string | undefined;
  /** Postgres for the tables. From DATABASE_URL; undefined keeps them in PGlite inside dataDir. */
  readonly databaseUrl: string | undefined;
  /** Redis or Valkey for the queue. From REDIS_URL; undefined keeps the queue in PGlite. */
  readonly redisUrl: string | undefined;
  /** Word that the queue's keys in Redis begin with. From QUEUE_PREFIX. */
  readonly queuePrefix: string;
  /** Object store for pictures and weights. From S3_*; undefined keeps them in files inside dataDir. */
  readonly s3: S3Config | undefined;
  /** Model of pictures where nobody chose one. From DEFAULT_MODEL. */
  readonly defaultModel: string;
  readonly worker: WorkerConfig;
  readonly discord: DiscordConfig | undefined;
  readonly slack: SlackConfig | undefined;
  /** The local page; undefined where another platform is set up and the page was not asked for. */
  readonly web: WebConfig | undefined;
  /** Where /livez, /readyz and /metrics are served. From HEALTH_HOST and HEALTH_PORT; undefined serves none. */
  readonly health: { readonly host: string; readonly port: number } | undefined;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  /** Of one attached file. From MAX_UPLOAD_MIB. */
  readonly maxUploadBytes: number;
}

export interface S3Config {
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface WorkerConfig {
  /** From DEVICE: auto, cpu, webgpu or cuda. */
  readonly device: (typeof DEVICES)[number];
  /** Threads of one operator. From THREADS; undefined takes all cores. */
  readonly threads: number | undefined;
  /** Weights of models that are kept loaded. From MODEL_MEMORY_GIB. */
  readonly modelMemoryBytes: number;
}

export interface DiscordConfig {
  readonly token: string;
  /** Origin of the API, for tests. From DISCORD_API. */
  readonly api: string | undefined;
  /** Server that commands are registered in at once; undefined registers them everywhere. From DISCORD_SERVER_ID. */
  readonly serverId: string | undefined;
  /** Connections of a large bot that this process keeps, of how many. From DISCORD_SHARDS; undefined keeps all. */
  readonly shards?: { readonly ids: readonly number[]; readonly count: number } | undefined;
}

export interface SlackConfig {
  readonly botToken: string;
  /** Socket Mode if there is one, else HTTP with the signing secret. */
  readonly appToken: string | undefined;
  readonly signingSecret: string | undefined;
  /** Port for HTTP. From SLACK_PORT. */
  readonly port: number;
  /** Base of the Web API, for tests. From SLACK_API. */
  readonly api: string | undefined;
}

export interface WebConfig {
  readonly host: string;
  readonly port: number;
  /** Demanded wherever the page is not bound to this machine alone. */
  readonly password: string | undefined;
}

const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug'] as const;
const DEVICES = ['auto', 'cpu', 'webgpu', 'cuda'] as const;
const MEBIBYTE = 2 ** 20;
const GIBIBYTE = 2 ** 30;

const text = z.string().min(1).optional();
const port = z.coerce.number().int().min(0).max(65535);
const httpUrl = z.url({ protocol: /^https?$/ }).optional();

const environmentSchema = z
  .object({
    DATA_DIR: text,
    MODELS_DIR: text,
    HF_ENDPOINT: httpUrl,
    HF_TOKEN: text,
    DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }).optional(),
    REDIS_URL: z.url({ protocol: /^rediss?$/ }).optional(),
    QUEUE_PREFIX: z
      .string()
      .regex(/^[\w-]+$/, 'letters, digits, dashes and underscores only')
      .default('sketchbooth'),
    S3_ENDPOINT: httpUrl,
    S3_REGION: z.string().min(1).default('us-east-1'),
    S3_BUCKET: text,
    S3_ACCESS_KEY_ID: text,
    S3_SECRET_ACCESS_KEY: text,
    DEFAULT_MODEL: z.string().min(1).default('pocket'),
    DEVICE: z.enum(DEVICES).default('auto'),
    THREADS: z.coerce.number().int().positive().optional(),
    MODEL_MEMORY_GIB: z.coerce.number().positive().default(8),
    DISCORD_TOKEN: text,
    DISCORD_API: httpUrl,
    DISCORD_SERVER_ID: text,
    DISCORD_SHARDS: z
      .string()
      .regex(/^\d+(-\d+)?\/\d+$/, 'first-last/count, such as 0-3/8')
      .optional(),
    SLACK_BOT_TOKEN: text,
    SLACK_APP_TOKEN: text,
    SLACK_SIGNING_SECRET: text,
    SLACK_PORT: port.default(3000),
    SLACK_API: httpUrl,
    WEB_HOST: z.string().min(1).default('127.0.0.1'),
    WEB_PORT: port.optional(),
    WEB_PASSWORD: z.string().min(8).optional(),
    HEALTH_HOST: z.string().min(1).default('127.0.0.1'),
    HEALTH_PORT: port.optional(),
    LOG_LEVEL: z.enum(LOG_LEVELS).default('info'),
    MAX_UPLOAD_MIB: z.coerce.number().positive().max(100).default(20),
  })
  .superRefine((variables, context) => {
    const refuse = (name: string, message: string) => context.addIssue({ code: 'custom', path: [name], message });
    if (variables.S3_ENDPOINT !== undefined) {
      for (const name of ['S3_BUCKET', 'S3_ACCESS_KEY_ID', 'S3_SECRET_ACCESS_KEY'] as const) {
        if (variables[name] === undefined) refuse(name, 'needed with S3_ENDPOINT');
      }
    }
    if (variables.SLACK_BOT_TOKEN !== undefined) {
      const isReachable = variables.SLACK_APP_TOKEN !== undefined || variables.SLACK_SIGNING_SECRET !== undefined;
      if (!isReachable) refuse('SLACK_APP_TOKEN', 'needed with SLACK_BOT_TOKEN, or else SLACK_SIGNING_SECRET');
    }
    if (!isLoopback(variables.WEB_HOST) && variables.WEB_PASSWORD === undefined) {
      refuse('WEB_PASSWORD', `needed with WEB_HOST ${variables.WEB_HOST}, which other machines can reach`);
    }
  });
type Variables = z.infer<typeof environmentSchema>;

/** Secrets may lie in files that container platforms mount: NAME_FILE instead of NAME. */
const SECRETS = [
  'HF_TOKEN',
  'DATABASE_URL',
  'REDIS_URL',
  'S3_ACCESS_KEY_ID',
  'S3_SECRET_ACCESS_KEY',
  'DISCORD_TOKEN',
  'SLACK_BOT_TOKEN',
  'SLACK_APP_TOKEN',
  'SLACK_SIGNING_SECRET',
  'WEB_PASSWORD',
] as const;

/** Port of the local page where nothing else is said. */
const USUAL_WEB_PORT = 7860;

/**
 * Reads the configuration from environment variables.
 * @throws UserError that names each variable with a bad value
 */
export function loadConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const parsed = environmentSchema.safeParse({ ...withoutBlanks(environment), ...readSecretFiles(environment) });
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
    databaseUrl: variables.DATABASE_URL,
    redisUrl: variables.REDIS_URL,
    queuePrefix: variables.QUEUE_PREFIX,
    s3: s3Of(variables),
    defaultModel: variables.DEFAULT_MODEL,
    worker: {
      device: variables.DEVICE,
      threads: variables.THREADS,
      modelMemoryBytes: variables.MODEL_MEMORY_GIB * GIBIBYTE,
    },
    ...platformsOf(variables),
    health:
      variables.HEALTH_PORT === undefined ? undefined : { host: variables.HEALTH_HOST, port: variables.HEALTH_PORT },
    logLevel: variables.LOG_LEVEL,
    maxUploadBytes: variables.MAX_UPLOAD_MIB * MEBIBYTE,
  };
}

/** Keeps ONNX Runtime from reporting usage; must run before onnxruntime-node is first imported. */
export function disableOnnxRuntimeTelemetry(): void {
  process.env['ORT_DISABLE_TELEMETRY'] = '1';
}

/** A variable that is set to nothing, as in an env file with empty lines, counts as not set. */
function withoutBlanks(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
}

function readSecretFiles(environment: NodeJS.ProcessEnv): Record<string, string> {
  const secrets: Record<string, string> = {};
  for (const name of SECRETS) {
    const file = environment[`${name}_FILE`];
    if (!file) continue;
    if (environment[name]) {
      throw new UserError(`Cannot read the configuration: ${name} and ${name}_FILE exclude each other, got both`);
    }
    try {
      secrets[name] = readFileSync(file, 'utf8').trim();
    } catch (cause) {
      throw new UserError(`Cannot read the configuration: ${name}_FILE must be a readable file, got ${file}`, {
        cause,
      });
    }
  }
  return secrets;
}

function s3Of(variables: Variables): S3Config | undefined {
  const { S3_ENDPOINT, S3_BUCKET, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY } = variables;
  if (!S3_ENDPOINT || !S3_BUCKET || !S3_ACCESS_KEY_ID || !S3_SECRET_ACCESS_KEY) return undefined;
  return {
    endpoint: S3_ENDPOINT.replace(/\/+$/, ''),
    region: variables.S3_REGION,
    bucket: S3_BUCKET,
    accessKeyId: S3_ACCESS_KEY_ID,
    secretAccessKey: S3_SECRET_ACCESS_KEY,
  };
}

function platformsOf(variables: Variables): Pick<Config, 'discord' | 'slack' | 'web'> {
  const { DISCORD_TOKEN, SLACK_BOT_TOKEN, WEB_PORT } = variables;
  const isWebAskedFor = WEB_PORT !== undefined || (DISCORD_TOKEN === undefined && SLACK_BOT_TOKEN === undefined);
  return {
    discord: DISCORD_TOKEN
      ? {
          token: DISCORD_TOKEN,
          api: variables.DISCORD_API,
          serverId: variables.DISCORD_SERVER_ID,
          shards: shardsOf(variables.DISCORD_SHARDS),
        }
      : undefined,
    slack: SLACK_BOT_TOKEN
      ? {
          botToken: SLACK_BOT_TOKEN,
          appToken: variables.SLACK_APP_TOKEN,
          signingSecret: variables.SLACK_SIGNING_SECRET,
          port: variables.SLACK_PORT,
          api: variables.SLACK_API,
        }
      : undefined,
    web: isWebAskedFor
      ? { host: variables.WEB_HOST, port: WEB_PORT ?? USUAL_WEB_PORT, password: variables.WEB_PASSWORD }
      : undefined,
  };
}

function shardsOf(text: string | undefined): DiscordConfig['shards'] {
  if (text === undefined) return undefined;
  const [range, count] = text.split('/');
  const [first, last = first] = range!.split('-').map(Number);
  const ids = Array.from({ length: last! - first! + 1 }, (_, index) => first! + index);
  if (ids.length === 0 || last! >= Number(count)) {
    throw new UserError(
      `Cannot read the configuration: DISCORD_SHARDS must be first-last/count, last below count, got ${text}`,
    );
  }
  return { ids, count: Number(count) };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
