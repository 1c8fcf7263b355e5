/**
 * Extrapolates from the unconditional towards the text prediction.
 * @param noisePred  [2N, ...], unconditional half first
 * @returns [N, ...]
 * @see Ho and Salimans 2022 (arXiv 2207.12598), eq. 6; a guidanceScale of 1 gives the text prediction
 */
export function guide(noisePred: Float32Array, guidanceScale: number): Float32Array {
  const half = noisePred.length / 2;
  const scale = Math.fround(guidanceScale);
  return Float32Array.from({ length: half }, (_, i) => {
    const unconditional = noisePred[i]!;
    return unconditional + Math.fround(scale * Math.fround(noisePred[half + i]! - unconditional));
  });
}

/**
 * Brings the spread of a guided prediction back to the text prediction's, which high guidance overdrives.
 * @param guided  [N, ...]
 * @param textPrediction  [N, ...]
 * @param options.guidanceRescale  0 keeps the guided prediction, 1 takes the rescaled one
 * @see Lin et al. 2023 (arXiv 2305.08891), eqs. 15 and 16
 */
export function rescaleGuidance(
  guided: Float32Array,
  textPrediction: Float32Array,
  { batch, guidanceRescale }: { batch: number; guidanceRescale: number },
): Float32Array {
  const size = guided.length / batch;
  const rescaled = new Float32Array(guided.length);
  for (let n = 0; n < batch; n++) {
    const [start, end] = [n * size, (n + 1) * size];
    const ratio = deviation(textPrediction.subarray(start, end)) / deviation(guided.subarray(start, end));
    const factor = guidanceRescale * ratio + 1 - guidanceRescale;
    for (let i = start; i < end; i++) rescaled[i] = guided[i]! * factor;
  }
  return rescaled;
}

/** Standard deviation of a sample, with n - 1 in the denominator. */
function deviation(values: Float32Array): number {
  let mean = 0;
  for (const value of values) mean += value / values.length;
  let squares = 0;
  for (const value of values) squares += (value - mean) ** 2;
  return Math.sqrt(squares / (values.length - 1));
}

/**
 * LCM's guidance embedding [dim] of a guidance scale, the sine half first.
 * @see Luo et al. 2023 (arXiv 2310.04378), section 4.2; diffusers, get_guidance_scale_embedding
 */
export function guidanceScaleEmbedding(guidanceScale: number, dim: number): Float32Array {
  const half = dim >> 1;
  const embedding = new Float32Array(dim);
  for (let i = 0; i < half; i++) {
    const angle = (guidanceScale - 1) * 1000 * Math.exp((-Math.log(10000) * i) / (half - 1));
    embedding[i] = Math.sin(angle);
    embedding[half + i] = Math.cos(angle);
  }
  return embedding;
}
