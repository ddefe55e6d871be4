/** The loop: what it tells, keeps, stops at, and that a run cut anywhere goes on to the same bits. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  all,
  compile,
  createParameters,
  createState,
  Executor,
  parameter,
  schedules,
  sgd,
  zeros,
} from '../../lib/index.js'
import { add, log, mean, multiply, sqrt } from '../../lib/ops/index.js'
import { CheckpointFolder } from '../../lib/train/checkpoint.js'
import { fitLoop, type LoopObserver, type LoopOptions } from '../../lib/train/loop.js'
import { type LoopSchedule, reduceOnPlateau } from '../../lib/train/loopSchedule.js'
import { schema } from '../design/support.js'
import { endOf, generatedSource, smallRun } from './support.js'

let root = ''
let folders = 0
let executor: Executor
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'kairos-loop-'))
  executor = new Executor({ threads: 1 })
})
afterAll(async () => {
  await executor.close()
  await rm(root, { recursive: true, force: true })
})
const freshFolder = () => CheckpointFolder.open(join(root, String(folders++)))

/** Aborts after a step. */
function cutAfter(step: number): { signal: AbortSignal; observer: LoopObserver } {
  const controller = new AbortController()
  const observer: LoopObserver = { stepped: (report) => report.step === step && controller.abort() }
  return { signal: controller.signal, observer }
}

async function runAll(more: Partial<LoopOptions> = {}, accumulate = 1) {
  const { options } = smallRun(executor, 7, accumulate)
  const events: string[] = []
  const observer: LoopObserver = {
    started: ({ step, epoch }) => events.push(`started ${step} ${epoch}`),
    stepped: ({ step, epoch, batch, examples }) => events.push(`step ${step} ${epoch}/${batch} x${examples}`),
    evaluated: ({ step, best }) => events.push(`evaluated ${step}${best ? ' best' : ''}`),
    epochEnded: ({ epoch }) => events.push(`epoch ${epoch}`),
    saved: ({ step }) => events.push(`saved ${step}`),
    skipped: (list) => events.push(`skipped ${list.length}`),
    ended: ({ ending }) => events.push(`ended ${ending}`),
  }
  const all: LoopOptions = { ...options, epochs: 2, ...more, observers: [observer, ...(more.observers ?? [])] }
  const result = await fitLoop(all)
  return { result, events, end: await endOf(result, all) }
}

describe('what observers see', () => {
  it('tells of every step, epoch and evaluation in order', async () => {
    const { events, result } = await runAll()
    const steps = (epoch: number) =>
      Array.from({ length: 7 }, (_, i) => `step ${(epoch - 1) * 7 + i + 1} ${epoch}/${i} x${i === 6 ? 2 : 8}`)
    expect(events).toEqual([
      'started 0 1',
      ...steps(1),
      'evaluated 7',
      'epoch 1',
      ...steps(2),
      'evaluated 14',
      'epoch 2',
      'ended epochs',
    ])
    expect(result).toMatchObject({ best: null, step: 14, epoch: 2, ending: 'epochs' })
  })

  it('evaluates every few steps where asked', async () => {
    const { events } = await runAll({ evaluateEvery: 5 })
    expect(events.filter((event) => event.startsWith('evaluated'))).toEqual(['evaluated 5', 'evaluated 10'])
  })

  it('reports the mean loss over examples', async () => {
    let sum = 0
    let mean = 0
    await runAll({
      epochs: 1,
      observers: [
        {
          stepped: ({ loss, examples }) => {
            sum += loss * examples
          },
          epochEnded: ({ loss }) => {
            mean = loss
          },
        },
      ],
    })
    expect(mean).toBe(sum / 50)
  })
})

describe('the best', () => {
  /** Metrics by hand, one per epoch. */
  const scripted = (...values: number[]) => {
    let next = 0
    return async () => ({ score: values[next++] as number })
  }

  it.each([
    ['max', [1, 3, 2, 3, 0], 2],
    ['min', [3, 1, 2, 1, 9], 2],
    ['max', [Number.NaN, 1, Number.NaN, 0, 0], 2],
  ] as const)('by %s of %j is epoch %i, and patience ends', async (direction, values, epoch) => {
    const watch = { metric: 'score', direction, patience: 3 }
    const seen: string[] = []
    const { result, end } = await runAll({
      epochs: 9,
      watch,
      evaluate: scripted(...values),
      observers: [{ epochEnded: async ({ epoch }) => seen.push(`${epoch}`) }],
    })
    expect(result).toMatchObject({ best: { epoch, step: 14 }, epoch: 5, ending: 'patience' })
    const { end: two } = await runAll()
    expect(end.values[0]).toEqual(two.values[0])
  })

  it('comes from its checkpoint where there are checkpoints', async () => {
    const folder = await freshFolder()
    const options = { epochs: 4, watch: { metric: 'score' } }
    const inMemory = await runAll({ ...options, evaluate: scripted(1, 3, 2, 2) })
    const { end, result } = await runAll({
      ...options,
      evaluate: scripted(1, 3, 2, 2),
      checkpoints: { folder, config: null },
    })
    expect(result.best).toEqual({ value: 3, epoch: 2, step: 14 })
    expect(end.values[0]).toEqual(inMemory.end.values[0])
    await folder.close()
  })

  it('asks for a metric that is there, and for somebody to give it', async () => {
    await expect(runAll({ watch: { metric: 'auc' } })).rejects.toThrow(
      /watch\.metric should be one of error but got 'auc'/,
    )
    const { evaluate: _, ...options } = smallRun(executor).options
    await expect(fitLoop({ ...options, epochs: 1, watch: { metric: 'auc' } })).rejects.toThrow(/evaluate should be/)
    await expect(runAll({ epochs: 0 })).rejects.toThrow(/epochs should be a positive integer but got 0/)
  })
})

/** Halves the rate when the error did not fall: a schedule that learns. */
function halving(): LoopSchedule {
  let rate = 0.02
  let last: number | null = null
  return {
    scalars: () => ({ lr: rate }),
    observe({ error = 0 }) {
      if (last !== null && error >= last * 0.9) rate /= 2
      last = error
    },
    save: () => ({ rate, last }),
    restore(saved) {
      ;({ rate, last } = saved as { rate: number; last: number | null })
    },
  }
}

describe('resume', () => {
  const common = { epochs: 3, watch: { metric: 'error', direction: 'min' as const, patience: 2 } }

  it('ends in the same bits wherever it was cut', async () => {
    const whole = await runAll({ ...common, schedule: halving() })
    for (const cut of [1, 7, 8, 13, 21]) {
      const folder = await freshFolder()
      const { signal, observer } = cutAfter(cut)
      const checkpoints = { folder, config: { width: 8 }, resume: true, every: { steps: 5 } }
      const first = await runAll({ ...common, schedule: halving(), checkpoints, signal, observers: [observer] })
      expect(first.result.ending).toBe('interrupted')
      const second = await runAll({ ...common, schedule: halving(), checkpoints })
      expect(second.events[0]).toMatch(/^started [1-9]/)
      expect(second.end).toEqual(whole.end)
      await folder.close()
    }
  }, 30_000)

  it('waits for the parameters to move where gradients are accumulated', async () => {
    const options = { epochs: 3, evaluateEvery: 4, watch: { metric: 'error', direction: 'min' as const } }
    const whole = await runAll(options, 3)
    // Of seven batches the last fills no window.
    expect(whole.events.filter((event) => event.startsWith('step'))).toHaveLength(18)
    expect(whole.events.filter((event) => event.startsWith('eval')).map((event) => event.split(' ')[1])).toEqual([
      '6',
      '9',
      '12',
      '18',
    ])
    for (const cut of [4, 6, 17]) {
      const folder = await freshFolder()
      const { signal, observer } = cutAfter(cut)
      const checkpoints = { folder, config: null, resume: true, every: { steps: 2 } }
      const first = await runAll({ ...options, checkpoints, signal, observers: [observer] }, 3)
      expect(first.result.step % 3).toBe(0)
      expect((await runAll({ ...options, checkpoints }, 3)).end).toEqual(whole.end)
      await folder.close()
    }
    await expect(runAll({}, 8)).rejects.toThrow(/at least 8 batches, as many as are accumulated but got 7/)
  })

  it('goes on with a rate that falls by step and on a plateau', async () => {
    const scheduled = () =>
      reduceOnPlateau(
        { lr: schedules.cosine({ peak: 0.05, steps: 30 }) },
        { metric: 'error', patience: 0, threshold: 0.3 },
      )
    const ratesOf = async (more: Partial<LoopOptions>) => {
      const rates: number[] = []
      const observer: LoopObserver = { stepped: ({ scalars }) => rates.push(scalars.lr as number) }
      const run = await runAll({
        epochs: 4,
        schedule: scheduled(),
        ...more,
        observers: [observer, ...(more.observers ?? [])],
      })
      return { rates, end: run.end }
    }
    const whole = await ratesOf({})
    expect(whole.rates[0]).toBe(0.05)
    expect(whole.rates[8]).toBeLessThan(whole.rates[7] as number)
    const folder = await freshFolder()
    const checkpoints = { folder, config: null, resume: true }
    const { signal, observer } = cutAfter(16)
    const first = await ratesOf({ checkpoints, signal, observers: [observer] })
    const second = await ratesOf({ checkpoints })
    expect([...first.rates, ...second.rates]).toEqual(whole.rates)
    expect(second.end).toEqual(whole.end)
    // It did fall: more than the cosine alone would have it.
    expect((whole.rates.at(-1) as number) / schedules.cosine({ peak: 0.05, steps: 30 })(27)).toBeLessThan(0.2)
    await folder.close()
    const unknown = reduceOnPlateau({ lr: 0.1 }, { metric: 'auc' })
    await expect(runAll({ schedule: unknown })).rejects.toThrow(/metric should be one of error but got 'auc'/)
    expect(() => reduceOnPlateau({ rate: 0.1 }, { metric: 'auc' })).toThrow(
      /rateName should be one of rate but got 'lr'/,
    )
  })

  it('refuses a schedule that says what JSON cannot hold', async () => {
    const folder = await freshFolder()
    const schedule = { ...halving(), save: () => ({ low: [1, Number.POSITIVE_INFINITY] }) }
    await expect(runAll({ schedule, checkpoints: { folder, config: null } })).rejects.toThrow(
      /schedule\.save\(\)\.low\.1 should be JSON but got Infinity/,
    )
    await folder.close()
  })

  it('does nothing more once a run has ended', async () => {
    const folder = await freshFolder()
    const checkpoints = { folder, config: null, resume: true }
    const first = await runAll({ epochs: 2, checkpoints })
    const again = await runAll({ epochs: 2, checkpoints })
    expect(again.events).toEqual(['started 14 3', 'ended epochs'])
    expect(again.end).toEqual(first.end)
    await folder.close()
  })

  it('refuses another config, another seed, and a folder in use without a word', async () => {
    const folder = await freshFolder()
    await runAll({ epochs: 1, checkpoints: { folder, config: { width: 8 } } })
    const again = (config: { width: number }, resume: boolean) =>
      runAll({ epochs: 2, checkpoints: { folder, config, resume } })
    await expect(again({ width: 8 }, false)).rejects.toThrow(/empty, or a run to resume but got one with checkpoints/)
    await expect(again({ width: 9 }, true)).rejects.toThrow(/width is 8 there, 9 here/)
    const { options } = smallRun(executor, 8)
    await expect(
      fitLoop({ ...options, epochs: 2, checkpoints: { folder, config: { width: 8 }, resume: true } }),
    ).rejects.toThrow(/of seed 8 but got one of seed 7/)
    await folder.close()
  })

  it('passes over a damaged checkpoint, and refuses when none is sound', async () => {
    const folder = await freshFolder()
    const checkpoints = { folder, config: null, resume: true, every: { steps: 4 } }
    const whole = await runAll({ epochs: 2, checkpoints })
    const names = (await readdir(folder.path)).filter((name) => name.startsWith('step')).sort()
    await writeFile(join(folder.path, names.at(-1) as string, 'state.safetensors'), 'x')
    const again = await runAll({ epochs: 2, checkpoints })
    expect(again.events.slice(0, 2)).toEqual(['started 12 2', 'skipped 1'])
    expect(again.end).toEqual(whole.end)
    for (const name of await readdir(folder.path)) {
      if (name.startsWith('step')) await writeFile(join(folder.path, name, 'manifest.json'), '{')
    }
    await expect(runAll({ epochs: 2, checkpoints })).rejects.toThrow(/at least one sound checkpoint but got none \(/)
    await folder.close()
  })
})

describe('a step that fails', () => {
  it('ends the run with its error, and leaves nothing under way', async () => {
    const source = generatedSource()
    const broken = {
      ...source,
      async *batches(epoch: number) {
        for await (const batch of source.batches(epoch)) {
          const fill = (views: { ids: Int32Array }) => {
            batch.fill(views as never)
            views.ids.fill(99)
          }
          yield { ...batch, fill }
        }
      },
    }
    await expect(runAll({ source: broken as never })).rejects.toThrow(/ids/)
    const failing = {
      ...source,
      batches: () => ({ [Symbol.asyncIterator]: () => ({ next: async () => Promise.reject(new Error('no disk')) }) }),
    }
    await expect(runAll({ source: failing as never })).rejects.toThrow('no disk')
  })
})

it('refuses a source that gives fewer batches than it says', async () => {
  const source = { ...generatedSource(), batchCount: 9 }
  await expect(runAll({ source })).rejects.toThrow(
    /source\.batches\(1\) should be 9 batches, its batchCount, but got 7/,
  )
})

describe('detectAnomaly', () => {
  const source = generatedSource()
  const rows = { x: schema.x, target: schema.target }

  function runOf(kind: 'loss' | 'gradient' | 'feed') {
    const model = { scale: parameter([8], zeros) }
    const program = compile(
      model,
      (m, b) => {
        const mean2 = mean(multiply(b.x, 2))
        // 0 at the start: its logarithm is -Infinity, and so is the gradient of its square root.
        const squares = multiply(m.scale, m.scale)
        if (kind === 'feed') return { loss: add(mean(m.scale), mean2) }
        return { loss: add(mean(kind === 'loss' ? log(squares) : sqrt(squares)), mean2) }
      },
      { schema: rows, executor, updates: [{ loss: 'loss', parameters: all, optimizer: sgd({ lr: 0.1 }) }] },
    )
    const bad = {
      ...source,
      schema: rows,
      async *batches(epoch: number) {
        for await (const batch of source.batches(epoch)) {
          yield {
            counts: batch.counts,
            fill: ({ x, target }: { x: Float32Array; target: Float32Array }) => {
              batch.fill({ x, target, ids: new Int32Array(24) })
              if (kind === 'feed') x[3] = Number.NaN
            },
          }
        }
      },
    }
    const parameters = createParameters(model)
    return { parameters, program, source: bad as never, state: createState(model), epochs: 1 }
  }

  it('names the op and the line of a loss that is not finite, changing nothing', async () => {
    const options = runOf('loss')
    await expect(fitLoop({ ...options, detectAnomaly: true })).rejects.toThrow(
      /^log: made the first value that is not finite, forward, in step 1 \(epoch 1, batch 0\) \(built at train\/loop\.test\.ts:\d+\)/,
    )
    expect([...((await options.parameters.read()).scale as Float32Array)]).toEqual(Array(8).fill(0))
  })

  it('says how to learn more without it', async () => {
    await expect(fitLoop(runOf('loss'))).rejects.toThrow(/detectAnomaly/)
  })

  it('finds a gradient before it does harm, when it looks at every step', async () => {
    await expect(fitLoop({ ...runOf('gradient'), detectAnomaly: 'steps' })).rejects.toThrow(
      /made the first value that is not finite, backward or update, in step 1 .*loop\.test\.ts/,
    )
  })

  it('tells of a parameter that an earlier step ruined', async () => {
    await expect(fitLoop({ ...runOf('gradient'), detectAnomaly: true })).rejects.toThrow(
      /^parameter 'scale': a value that is not finite came in, in step 2 .*detectAnomaly: "steps"/,
    )
  })

  it('tells of a feed', async () => {
    await expect(fitLoop({ ...runOf('feed'), detectAnomaly: true })).rejects.toThrow(/^feed 'x': a value/)
  })

  it('finds nothing in a run that is well, and leaves its bits alone', async () => {
    const plain = await runAll({ epochs: 1 })
    const watched = await runAll({ epochs: 1, detectAnomaly: 'steps' })
    expect(watched.end).toEqual(plain.end)
    const accumulated = await runAll({ epochs: 1, detectAnomaly: 'steps' }, 2)
    expect(accumulated.end).toEqual((await runAll({ epochs: 1 }, 2)).end)
  })
})
