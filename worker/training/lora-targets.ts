/** Which modules a LoRA changes, named as PEFT names them. */

/** The attention projections that the published scripts train, of the UNet and of the text encoders. */
export const ATTENTION_MODULES = 'to_q,to_k,to_v,to_out.0,q_proj,k_proj,v_proj,out_proj';
/** Stands for every linear layer and every convolution. */
export const ALL_MODULES = 'all';

/**
 * Whether a module is one of those that the setting names.
 * @param targets  names that a module's path may end with at a dot, with commas between them, or `all`
 * @see PEFT, LoraConfig.target_modules
 */
export function isLoraTarget(path: string, targets: string): boolean {
  return targets === ALL_MODULES || moduleNames(targets).some((name) => `.${path}`.endsWith(`.${name}`));
}

export function moduleNames(targets: string): string[] {
  return targets.split(',').map((name) => name.trim());
}
