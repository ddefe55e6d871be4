/**
 * Attention in ONNX Runtime: the peer of `attention` and `targetAttention`.
 *
 *     node attention.mjs FOLDER THREADS    answers `open 1`, `graph N` and `operator N`, as common.py does
 *
 * The folder is that of attention.py. `graph` is MatMul and Softmax, `operator` is com.microsoft's MultiHeadAttention.
 */
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import ort from 'onnxruntime-node'

const [folder, threads] = [process.argv[2], Number(process.argv[3])]
const options = { intraOpNumThreads: threads, interOpNumThreads: 1, graphOptimizationLevel: 'all' }

// A model in ONNX's protocol buffers: fields by number.
const varint = (n) => (n < 128 ? [n] : [(n % 128) + 128, ...varint(Math.floor(n / 128))])
const number = (field, n) => Buffer.from([...varint(field * 8), ...varint(n)])
const bytes = (field, ...parts) => {
  const all = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)))
  return Buffer.concat([Buffer.from([...varint(field * 8 + 2), ...varint(all.length)]), all])
}
const float = (field, x) => {
  const four = Buffer.alloc(4)
  four.writeFloatLE(x)
  return Buffer.concat([Buffer.from(varint(field * 8 + 5)), four])
}
const attribute = {
  int: (name, n) => bytes(5, bytes(1, name), number(3, n), number(20, 2)),
  ints: (name, list) => bytes(5, bytes(1, name), ...list.map((n) => number(8, n)), number(20, 7)),
}
const node = (op, inputs, output, attributes = [], domain = '') =>
  bytes(1, ...inputs.map((name) => bytes(1, name)), bytes(2, output), bytes(4, op), ...attributes, bytes(7, domain))
const shape = (dims) => bytes(2, ...dims.map((dim) => bytes(1, number(1, dim))))
const value = (field, name, dims) => bytes(field, bytes(1, name), bytes(2, bytes(1, number(1, 1), shape(dims))))
const scalar = (name, x) => bytes(5, number(2, 1), float(4, x), bytes(8, name))
const opset = (domain, version) => bytes(8, bytes(1, domain), number(2, version))
const model = (...graph) =>
  Buffer.concat([number(1, 8), bytes(7, ...graph, bytes(2, 'g')), opset('', 14), opset('com.microsoft', 1)])

let problem

async function open() {
  const { batch, queries, keys, heads, width, causal } = JSON.parse(readFileSync(`${folder}/dims`, 'utf8'))
  const read = (name) => {
    const { buffer, byteOffset, length } = readFileSync(`${folder}/${name}`)
    return new Float32Array(buffer.slice(byteOffset, byteOffset + length))
  }
  const [starts, ends] = [read('starts'), read('ends')]
  const masked = causal || ends.some((end) => end < keys)
  const mask = new Float32Array(masked ? batch * queries * keys : 0).map((_, at) => {
    const [b, i, j] = [Math.floor(at / (queries * keys)), Math.floor(at / keys) % queries, at % keys]
    return j >= starts[b] && j < ends[b] && !(causal && j > i) ? 0 : -3e38
  })
  const byHead = (array, length) =>
    Float32Array.from(array, (_, at) => {
      const [c, i] = [at % width, Math.floor(at / width) % length]
      const [h, b] = [Math.floor(at / (width * length)) % heads, Math.floor(at / (width * length * heads))]
      return array[((b * length + i) * heads + h) * width + c]
    })
  const tensor = (data, dims) => new ort.Tensor('float32', data, dims)
  const bias = masked ? { mask: tensor(mask, [batch, 1, queries, keys]) } : {}
  const maskInput = masked ? [value(11, 'mask', [batch, 1, queries, keys])] : []
  const lengths = { q: queries, k: keys, v: keys }
  const feedsOf = (layout, dimsOf) => ({
    ...Object.fromEntries(
      Object.entries(lengths).map(([name, length]) => [name, tensor(layout(read(name), length), dimsOf(length))]),
    ),
    ...bias,
  })
  const declare = (dimsOf) => [
    ...Object.entries(lengths).map(([name, length]) => value(11, name, dimsOf(length))),
    ...maskInput,
    value(12, 'y', dimsOf(queries)),
  ]
  const apart = (length) => [batch, heads, length, width]
  const together = (length) => [batch, length, heads * width]
  const session = (...graph) => ort.InferenceSession.create(model(...graph), options)
  const graph = await session(
    node('Transpose', ['k'], 'kt', [attribute.ints('perm', [0, 1, 3, 2])]),
    node('MatMul', ['q', 'kt'], 's'),
    node('Mul', ['s', 'scale'], masked ? 't' : 'u'),
    ...(masked ? [node('Add', ['t', 'mask'], 'u')] : []),
    node('Softmax', ['u'], 'p', [attribute.int('axis', 3)]),
    node('MatMul', ['p', 'v'], 'y'),
    scalar('scale', 1 / Math.sqrt(width)),
    ...declare(apart),
  )
  const inputs = masked ? ['q', 'k', 'v', '', '', 'mask'] : ['q', 'k', 'v']
  const operator = await session(
    node('MultiHeadAttention', inputs, 'y', [attribute.int('num_heads', heads)], 'com.microsoft'),
    ...declare(together),
  )
  // Without queries that see no key.
  const sees = (b, i) => !causal || i >= starts[b]
  const sumOfSquares = (data, rowOf) => data.reduce((total, x, at) => total + (sees(...rowOf(at)) ? x * x : 0), 0)
  problem = {
    graph: {
      run: (feeds) => graph.run(feeds),
      feeds: feedsOf(byHead, apart),
      square: (data) =>
        sumOfSquares(data, (at) => [Math.floor(at / (width * queries * heads)), Math.floor(at / width) % queries]),
    },
    operator: {
      run: (feeds) => operator.run(feeds),
      feeds: feedsOf((array) => array, together),
      square: (data) =>
        sumOfSquares(data, (at) => [
          Math.floor(at / (heads * width * queries)),
          Math.floor(at / (heads * width)) % queries,
        ]),
    },
  }
}

const clock =
  threads === 1
    ? () => {
        const { user, system } = process.cpuUsage()
        return (user + system) / 1000
      }
    : () => performance.now()

for await (const line of createInterface({ input: process.stdin })) {
  const [name, runs] = line.split(' ')
  const [milliseconds, losses] = [[], []]
  if (name === 'open') await open()
  else {
    const { run, feeds, square } = problem[name]
    for (let i = 0; i < Number(runs); i++) {
      const start = clock()
      const { y } = await run(feeds)
      milliseconds.push(clock() - start)
      if (i === 0) losses.push(square(y.data))
    }
  }
  console.log(JSON.stringify({ milliseconds, losses }))
}
