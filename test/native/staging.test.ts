import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Lease, Staging } from '../../lib/runtime/index.js'
import { bindStep, failure, feedsOf, makeParameters, weightOf, weights } from './setup.js'

let bound: Awaited<ReturnType<typeof bindStep>>
let poisoned: Awaited<ReturnType<typeof bindStep>>
beforeAll(async () => {
  bound = await bindStep()
  poisoned = await bindStep({ poison: true })
})
afterAll(async () => {
  await bound.executor.close()
  await poisoned.executor.close()
})

const inputs = [
  { name: 'ids', dtype: 'int32', shape: ['batch'] },
  { name: 'x', dtype: 'float32', shape: ['batch', 2] },
  { name: 'label', dtype: 'bool', shape: ['batch'] },
] as const
const makeRing = (slots: number) => new Staging(inputs, { batch: 4 }, slots)

function fill({ views }: Lease, ids: number[]): void {
  views.ids!.set(ids)
  views.x!.set(feedsOf(ids).x!)
}
const request = (lease: Lease, count: number) => ({
  counts: { batch: count },
  feeds: { other: new Int32Array(count) },
  lease,
  stores: [makeParameters()],
})

test('a leased batch is read in place, and detached', async () => {
  const ring = makeRing(1)
  for (const { executable } of [bound, poisoned, bound]) {
    for (const count of [4, 1, 3]) {
      const lease = await ring.lease({ batch: count })
      expect(lease.views.x).toHaveLength(2 * count)
      expect(lease.names).toEqual(['ids', 'x', 'label'])
      const ids = Array.from({ length: count }, (_, row) => 3 - row)
      fill(lease, ids)
      const running = executable.run(request(lease, count))
      expect(lease.views.x).toHaveLength(0)
      const copied = await bound.executable.run({
        ...request(lease, count),
        lease: undefined as never,
        feeds: { ...feedsOf(ids), other: new Int32Array(count) },
      })
      expect((await running).outputs).toEqual(copied.outputs)
    }
  }
})

test('leases wait for slots, in order', async () => {
  const ring = makeRing(2)
  const [first, second] = [await ring.lease(), await ring.lease()]
  const order: string[] = []
  const waiting = ['third', 'fourth'].map(async (name) => {
    const lease = await ring.lease()
    order.push(name)
    return lease
  })
  await new Promise((resolve) => setTimeout(resolve, 10))
  expect(order).toEqual([])
  fill(first, [0, 1, 2, 3])
  await bound.executable.run(request(first, 4))
  await waiting[0]
  expect(order).toEqual(['third'])
  second.release()
  second.release()
  expect((await waiting[1]!).views.ids).toHaveLength(4)
  expect(order).toEqual(['third', 'fourth'])
  const never = ring.lease()
  ring[Symbol.dispose]()
  await expect(never).rejects.toMatchObject({ code: 'KAIROS_DISPOSED' })
  await expect(ring.lease()).rejects.toMatchObject({ code: 'KAIROS_DISPOSED' })
})

test('a failed run gives the slot back', async () => {
  const ring = makeRing(1)
  const parameters = makeParameters()
  const badId = await ring.lease({ batch: 2 })
  fill(badId, [1, 4])
  const failing = bound.executable.run({ ...request(badId, 2), stores: [parameters] })
  expect(await failure(failing)).toMatchObject({ code: 'KAIROS_ID_RANGE', details: { got: '4 at row 1' } })
  const noFeed = await ring.lease({ batch: 2 })
  fill(noFeed, [1, 2])
  expect(await failure(bound.executable.run({ ...request(noFeed, 2), feeds: {} }))).toMatchObject({
    code: 'KAIROS_MISSING',
  })
  const twice = await ring.lease({ batch: 2 })
  fill(twice, [1, 2])
  expect(await failure(bound.executable.run({ ...request(twice, 2), feeds: feedsOf([1, 2]) }))).toMatchObject({
    code: 'KAIROS_DUPLICATE',
  })
  expect(await weightOf(parameters)).toEqual([...weights()])
  ;(await ring.lease()).release()
})

test('a lease serves once', async () => {
  const ring = makeRing(2)
  const lease = await ring.lease({ batch: 1 })
  fill(lease, [1])
  await bound.executable.run(request(lease, 1))
  expect(await failure(bound.executable.run(request(lease, 1)))).toMatchObject({ code: 'KAIROS_DETACHED' })
  const released = await ring.lease({ batch: 1 })
  released.release()
  expect(released.views.x).toHaveLength(0)
  expect(await failure(bound.executable.run(request(released, 1)))).toMatchObject({ code: 'KAIROS_DETACHED' })
})

test('more than the ring holds is refused', async () => {
  const ring = makeRing(1)
  expect(await failure(ring.lease({ batch: 5 }))).toMatchObject({
    code: 'KAIROS_SHAPE',
    details: { argument: 'counts.batch' },
  })
  const lease = await ring.lease({ batch: 4 })
  const wide = await bindStep({ capacity: 9 })
  const error = await failure(wide.executable.run(request(lease, 5)))
  expect(error).toMatchObject({ code: 'KAIROS_SHAPE', details: { argument: 'feeds.ids' } })
  await wide.executor.close()
})

test('a view that was transferred away is a named error, and its memory is not used again', async () => {
  const ring = makeRing(1)
  const lease = await ring.lease({ batch: 1 })
  const { x } = lease.views
  // Newer engines can move an ArrayBuffer; where this one cannot, there is nothing to catch.
  const { transfer } = ArrayBuffer.prototype as { transfer?: (this: ArrayBuffer) => ArrayBuffer }
  if (!transfer) return lease.release()
  const stolen = new Float32Array(transfer.call(x!.buffer as ArrayBuffer))
  expect(await failure(bound.executable.run(request(lease, 1)))).toMatchObject({
    code: 'KAIROS_DETACHED',
    details: { argument: 'leased.x' },
  })
  const next = await ring.lease({ batch: 1 })
  next.views.x!.fill(1)
  stolen.fill(2)
  expect(next.views.x).toEqual(Float32Array.of(1, 1))
})
