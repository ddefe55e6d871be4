import { expect, it } from 'vitest'
import { createProgress, formatSeconds } from '../../lib/train/progress.js'

function fakeStream(isTTY: boolean) {
  const stream = {
    isTTY,
    columns: 100,
    text: '',
    write(text: string) {
      stream.text += text
      return true
    },
  }
  return stream
}
const asStream = (stream: unknown) => stream as NodeJS.WriteStream

it('writes a line every few seconds where there is no terminal, and the last state', () => {
  const stream = fakeStream(false)
  let time = 0
  const progress = createProgress({
    title: 'epoch 1',
    total: 1000,
    stream: asStream(stream),
    interval: 3000,
    now: () => time,
  })
  for (let done = 100; done <= 1000; done += 100) {
    time += 1000
    progress.update(done, { loss: 5 - done / 1000 })
  }
  progress.print('note')
  progress.stop()
  progress.stop()
  expect(stream.text.split('\n')).toEqual([
    'epoch 1   30%  100 samples/s  loss 4.7000  7 s left',
    'epoch 1   60%  100 samples/s  loss 4.4000  4 s left',
    'epoch 1   90%  100 samples/s  loss 4.1000  1 s left',
    'note',
    'epoch 1  100%  100 samples/s  loss 4.0000  10 s',
    '',
  ])
})

it('draws a bar on a terminal', () => {
  const stream = fakeStream(true)
  let time = 0
  const progress = createProgress({ title: '{x} y', total: 10, stream: asStream(stream), now: () => time })
  time = 2000
  progress.update(4, { loss: 1.25 })
  progress.print('a line')
  progress.stop()
  expect(stream.text).toContain('{x} y')
  expect(stream.text).toContain('40%  2 samples/s  loss 1.2500  3 s left')
  expect(stream.text).toContain('a line\n')
})

it.each([
  [0.4, '0 s'],
  [59.4, '59 s'],
  [185, '3 min 05 s'],
  [7800, '2 h 10 min'],
])('writes %d seconds as %s', (seconds, text) => {
  expect(formatSeconds(seconds)).toBe(text)
})

it('counts what an earlier run did for the share, and not for the rate', () => {
  const stream = fakeStream(false)
  let time = 0
  const progress = createProgress({
    title: 'run',
    total: 1000,
    start: 500,
    stream: asStream(stream),
    interval: 1000,
    now: () => time,
  })
  time = 1000
  progress.update(600, { loss: 1 })
  expect(stream.text).toBe('run   60%  100 samples/s  loss 1.0000  4 s left\n')
})
