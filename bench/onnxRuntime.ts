/** ONNX Runtime in Node, where it is installed: `npm install --no-save --ignore-scripts onnxruntime-node@1.30.0`. */

/** What is used of the package. */
export interface OnnxRuntime {
  readonly InferenceSession: {
    create(path: string, options: Readonly<Record<string, unknown>>): Promise<OnnxSession>
  }
  readonly Tensor: new (
    dtype: 'int64' | 'float32',
    data: BigInt64Array | Float32Array,
    shape: readonly number[],
  ) => unknown
}

export interface OnnxSession {
  run(feeds: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, { readonly data: Float32Array }>>>
  release(): Promise<void>
}

export async function findOnnxRuntime(): Promise<OnnxRuntime | null> {
  const name = 'onnxruntime-node'
  try {
    const found = await import(name)
    return found.default ?? found
  } catch {
    console.log(`bench: ONNX Runtime is skipped, ${name} is not installed (bench/peers/README.md)`)
    return null
  }
}

/** The settings that are fastest for it. */
export const sessionOptions = (threads: number) => ({
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
  graphOptimizationLevel: 'all',
  executionMode: 'sequential',
})
