/** Position of the first of ascending `sums` that is greater than `target`; the last where none is. */
export function firstAbove(sums: ArrayLike<number>, target: number): number {
  let low = 0
  let high = sums.length - 1
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sums[middle] as number) > target) high = middle
    else low = middle + 1
  }
  return low
}
