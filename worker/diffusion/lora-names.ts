export type LoraTarget = 'unet' | 'text_encoder' | 'text_encoder_2';

/** A Linear or Conv of a network that a LoRA may change. */
export interface LoraModule {
  target: LoraTarget;
  /** diffusers module path, such as `mid_block.attentions.0.proj_in` or `text_model.encoder.layers.0.mlp.fc1`. */
  path: string;
  /** [out, in] or [out, in, kh, kw] */
  weightShape: readonly number[];
}

const KOHYA_PREFIXES: { readonly [T in LoraTarget]: readonly string[] } = {
  unet: ['lora_unet_'],
  text_encoder: ['lora_te_', 'lora_te1_'],
  text_encoder_2: ['lora_te2_'],
};

/**
 * Lists every spelling of every module's name in LoRA files: diffusers with and without `unet.`, text encoders with and
 * without `text_model.`, and kohya's names, whose dots became underscores, of diffusers' and of sgm's paths.
 */
export function loraModulesByName(modules: readonly LoraModule[]): Map<string, LoraModule> {
  const layout = unetLayout(modules);
  const byName = new Map<string, LoraModule>();
  for (const module of modules) {
    const { target, path } = module;
    for (const spelling of pathSpellings(module)) byName.set(`${target}.${spelling}`, module);
    if (target === 'unet') byName.set(path, module);
    const sgm = target === 'unet' ? sgmPath(path, layout) : undefined;
    for (const spelling of [...pathSpellings(module), ...(sgm === undefined ? [] : [sgm])]) {
      for (const prefix of KOHYA_PREFIXES[target]) byName.set(prefix + spelling.replaceAll('.', '_'), module);
    }
  }
  return byName;
}

/** Returns the module's path, for a text encoder with and without the `text_model.` that transformers 5 leaves out. */
export function pathSpellings({ target, path }: LoraModule): string[] {
  if (target === 'unet') return [path];
  const bare = path.replace(/^text_model\./, '');
  return [bare, `text_model.${bare}`];
}

interface UnetLayout {
  /** Resnets in an up block, which is layers_per_block + 1, and sgm blocks per level. */
  blocksPerLevel: number;
  /** Paths of the up blocks with attention, where the upsampler is the third inner module and not the second. */
  attentionBlocks: ReadonlySet<string>;
}

function unetLayout(modules: readonly LoraModule[]): UnetLayout {
  let blocksPerLevel = 0;
  const attentionBlocks = new Set<string>();
  for (const { path } of modules) {
    const match = /^(up_blocks\.\d+)\.(resnets|attentions)\.(\d+)\./.exec(path);
    if (match === null) continue;
    blocksPerLevel = Math.max(blocksPerLevel, Number(match[3]) + 1);
    if (match[2] === 'attentions') attentionBlocks.add(match[1]!);
  }
  return { blocksPerLevel, attentionBlocks };
}

const SGM_RESNET: Readonly<Record<string, string>> = {
  conv1: 'in_layers.2',
  time_emb_proj: 'emb_layers.1',
  conv2: 'out_layers.3',
  conv_shortcut: 'skip_connection',
};

const SGM_TOP: Readonly<Record<string, string>> = {
  conv_in: 'input_blocks.0.0',
  'time_embedding.linear_1': 'time_embed.0',
  'time_embedding.linear_2': 'time_embed.2',
  'add_embedding.linear_1': 'label_emb.0.0',
  'add_embedding.linear_2': 'label_emb.0.2',
  conv_out: 'out.2',
};

/** Returns the path in Stability's generative-models (sgm), or undefined for a module without one. */
function sgmPath(path: string, { blocksPerLevel, attentionBlocks }: UnetLayout): string | undefined {
  const match = /^(down|mid|up)_blocks?\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$/.exec(
    path,
  );
  if (match === null) return SGM_TOP[path];
  const [, side, level, kind, position, rest] = match;
  const [block, index] = [Number(level) * blocksPerLevel, Number(position)];
  const inner = kind === 'resnets' ? SGM_RESNET[rest!] : rest;
  if (side === 'mid') return `middle_block.${kind === 'resnets' ? 2 * index : 1}.${inner}`;
  if (kind === 'downsamplers') return `input_blocks.${block + blocksPerLevel}.0.op`;
  if (kind === 'upsamplers') {
    return `output_blocks.${block + blocksPerLevel - 1}.${attentionBlocks.has(`up_blocks.${level}`) ? 2 : 1}.conv`;
  }
  const slot = `${kind === 'resnets' ? 0 : 1}.${inner}`;
  return side === 'down' ? `input_blocks.${block + index + 1}.${slot}` : `output_blocks.${block + index}.${slot}`;
}
