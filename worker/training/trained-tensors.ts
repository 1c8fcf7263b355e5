/** Weights as the trainer holds them, by the name that the network uses; values are row-major and float32. */
export type TrainedTensors = ReadonlyMap<string, TrainedTensor>;

export interface TrainedTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}
