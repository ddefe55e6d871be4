/** Element types of tensors, and the typed arrays that hold them. */

export type DType = 'float32' | 'int32' | 'bool'

export const dtypes = ['float32', 'int32', 'bool'] as const satisfies readonly DType[]

/** float32 -> Float32Array, int32 -> Int32Array, bool -> Uint8Array of 0 and 1. */
export type ArrayOf<D extends DType> = D extends 'float32' ? Float32Array : D extends 'int32' ? Int32Array : Uint8Array

export const bytesOf = { float32: 4, int32: 4, bool: 1 } as const satisfies Record<DType, number>

const constructors = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const

export function arrayOf<D extends DType>(dtype: D, length: number): ArrayOf<D> {
  return new constructors[dtype](length) as ArrayOf<D>
}

/** The dtype that a typed array holds, or undefined for kinds that no tensor has. */
export function dtypeOfArray(array: unknown): DType | undefined {
  return dtypes.find((dtype) => array instanceof constructors[dtype])
}
