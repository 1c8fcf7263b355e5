import { graphMemory } from '../graph/graph-memory.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import type { AdamwOptions } from './adamw.ts';
import { trainerOf } from './create-trainer.ts';
import { HostTrainer } from './host-trainer.ts';
import { type Lesson, learningCount } from './trainer.ts';

/** Bytes that a lesson's steps take at their peak, by what takes them: of the process on the CPU, of the card elsewhere. */
export interface MemoryEstimate {
  /** Frozen weights, stored and computed from stored ones. */
  readonly weightsBytes: number;
  /** Activations, and gradients on their way. */
  readonly activationsBytes: number;
  /** Weights that learn, their moments and their gradients. */
  readonly stateBytes: number;
  /** Whatever is there with any lesson. */
  readonly processBytes: number;
}

/** Node, its libraries and ONNX Runtime's, and what the command line loads. */
export const PROCESS_BYTES = 130 * 2 ** 20;
/** What ONNX Runtime and the description keep for a node of the graph. */
const BYTES_PER_NODE = 12 * 2 ** 10;
/** A context of CUDA with cuBLAS and cuDNN; not measured by us. */
const CUDA_BYTES = 600 * 2 ** 20;
/** Of what is computed when the session is created, this share stays with the allocator after it has been freed. */
const FOLDING_WASTE = 0.5;
/** Large results find no place between small ones: 1.02 to 1.55 times what is alive was measured. */
const FRAGMENTATION = 1.25;
/** States of a Loop at its peak: fed, returned, carried, and garbage that is not collected yet; a step's own comes on top. */
const LOOP_STATES = 10 / 3;
/** Gradients of the host's optimizer: where they go, and what ONNX Runtime's binding copies. */
const HOST_GRADIENTS = 2;

/** All parts together. */
export function stepsBytes({ weightsBytes, activationsBytes, stateBytes, processBytes }: MemoryEstimate): number {
  return weightsBytes + activationsBytes + stateBytes + processBytes;
}

/**
 * Estimates the memory of a lesson's steps from the graph that its session will run: see graphMemory. Measured peaks of
 * whole UNets of 10 to 860 million numbers were within 15 % of it on the CPU; no card has been measured.
 */
export function estimateSteps(lesson: Lesson, adamw: AdamwOptions, options: CompileOptions): MemoryEstimate {
  const trainer = trainerOf(lesson, options);
  const { storedBytes, foldedBytes, foldingBytes, liveBytes, nodeCount } = graphMemory(
    trainer.lower(lesson, adamw, options),
    lesson.perStep,
  );
  const vector = 4 * learningCount(lesson.trainables);
  const vectors = lesson.hasEma ? 4 : 3;
  const states = trainer === HostTrainer ? vectors + HOST_GRADIENTS : vectors * LOOP_STATES;
  return {
    weightsBytes: storedBytes + foldedBytes + FOLDING_WASTE * foldingBytes,
    activationsBytes: FRAGMENTATION * liveBytes,
    stateBytes: states * vector,
    processBytes: options.device === 'cpu' ? PROCESS_BYTES + BYTES_PER_NODE * nodeCount : CUDA_BYTES,
  };
}
