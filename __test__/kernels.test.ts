import test, { type ExecutionContext } from 'ava'
import { type Kernels, SkimError, kernels, reference } from '../index.js'

/** The same numbers every time (mulberry32). */
function numbers(n: number, seed = 1): Float32Array {
  let state = seed
  return Float32Array.from({ length: n }, () => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 31 - 1
  })
}

const both: [string, Kernels][] = [
  ['native', kernels],
  ['reference', reference],
]

function refused(t: ExecutionContext, option: string, work: () => unknown): SkimError {
  const error = t.throws(work, { instanceOf: SkimError })!
  t.is(error.code, 'ERR_INVALID_ARG', error.message)
  t.is(error.details['option'], option, error.message)
  return error
}

test('native and reference choose the same tokens', (t) => {
  for (const n of [1, 2, 17, 1000, 8191])
    for (const k of [0, 1, Math.ceil(n / 3), n]) {
      const scores = numbers(n, n + k)
      t.deepEqual(kernels.selectTopK(scores, k), reference.selectTopK(scores, k))
      const order = 'score'
      t.deepEqual(kernels.selectTopK(scores, k, { order }), reference.selectTopK(scores, k, { order }))
    }
})

test('native and reference pool the same', (t) => {
  for (const n of [0, 1, 4, 100])
    for (const window of [1, 3, 5, 13, 201]) {
      const x = numbers(n)
      const [got, want] = [kernels.avgPool1d(x, window), reference.avgPool1d(x, window)]
      t.is(got.length, n)
      got.forEach((value, i) => t.true(Math.abs(value - want[i]!) < 1e-5))
    }
})

test('native and reference score the last query the same', (t) => {
  const shapes = [
    { heads: 9, kvHeads: 3, tokens: 50, dim: 64 },
    { heads: 4, kvHeads: 4, tokens: 7, dim: 5 },
    { heads: 2, kvHeads: 1, tokens: 0, dim: 8 },
  ]
  for (const shape of shapes) {
    const q = numbers(shape.heads * shape.dim)
    const k = numbers(shape.kvHeads * shape.tokens * shape.dim, 2)
    const [got, want] = [kernels.scoreLastQuery(q, k, shape), reference.scoreLastQuery(q, k, shape)]
    t.is(got.length, shape.tokens)
    got.forEach((value, i) => t.true(Math.abs(value - want[i]!) < 1e-4, `${value} ${want[i]}`))
  }
})

for (const [name, kernel] of both) {
  test(`${name}: equal scores go to the lower index`, (t) => {
    const scores = Float32Array.of(1, 7, 3, 7, 7, -0, 0)
    t.deepEqual([...kernel.selectTopK(scores, 2)], [1, 3])
    t.deepEqual([...kernel.selectTopK(scores, 5, { order: 'score' })], [1, 3, 4, 2, 0])
    t.deepEqual([...kernel.selectTopK(Float32Array.of(-0, 0), 1)], [0])
  })

  test(`${name}: pooling counts what is outside as 0 and divides by the whole window`, (t) => {
    t.deepEqual([...kernel.avgPool1d(Float32Array.of(5, 5, 5, 5), 5)], [3, 4, 4, 3])
  })

  test(`${name}: rows are gathered in the order asked for`, (t) => {
    const src = Float32Array.of(0, 1, 10, 11, 20, 21)
    t.deepEqual([...kernel.gatherRows(src, 2, Uint32Array.of(2, 0, 2))], [20, 21, 0, 1, 20, 21])
    t.is(kernel.gatherRows(src, 2, new Uint32Array()).length, 0)
  })

  test(`${name}: out is filled from its start and its filled part is the answer`, (t) => {
    const out = new Uint32Array(5).fill(9)
    const answer = kernel.selectTopK(Float32Array.of(3, 1, 2), 2, { out })
    t.is(answer.buffer, out.buffer)
    t.deepEqual([...answer], [0, 2])
    t.deepEqual([...out], [0, 2, 9, 9, 9])
  })

  test(`${name}: NaN and infinities are never sorted, nor the scores of keys`, (t) => {
    const shape = { heads: 1, kvHeads: 1, tokens: 3, dim: 1 }
    for (const bad of [NaN, Infinity, -Infinity]) {
      const values = Float32Array.of(1, bad, 2)
      for (const work of [
        () => kernel.selectTopK(values, 1),
        () => kernel.avgPool1d(values, 1),
        () => kernel.scoreLastQuery(Float32Array.of(1), values, shape),
      ]) {
        const error = t.throws(work, { instanceOf: SkimError, code: 'ERR_NUMERICS' })
        t.is(error?.details['index'], 1)
      }
    }
  })

  test(`${name}: what does not fit is refused by name`, (t) => {
    const four = new Float32Array(4)
    refused(t, 'k', () => kernel.selectTopK(four, 5))
    refused(t, 'k', () => kernel.selectTopK(four, -1))
    refused(t, 'k', () => kernel.selectTopK(four, 1.5))
    refused(t, 'k', () => kernel.selectTopK(four, NaN))
    refused(t, 'scores', () => kernel.selectTopK([1, 2] as never, 1))
    refused(t, 'order', () => kernel.selectTopK(four, 1, { order: 'best' as never }))
    refused(t, 'out.length', () => kernel.selectTopK(four, 3, { out: new Uint32Array(2) }))
    refused(t, 'out', () => kernel.selectTopK(four, 3, { out: new Float32Array(3) as never }))
    refused(t, 'window', () => kernel.avgPool1d(four, 4))
    refused(t, 'window', () => kernel.avgPool1d(four, 0))
    refused(t, 'out.length', () => kernel.avgPool1d(four, 3, new Float32Array(3)))
    refused(t, 'rowLength', () => kernel.gatherRows(four, 3, Uint32Array.of(0)))
    t.is(refused(t, 'rows', () => kernel.gatherRows(four, 2, Uint32Array.of(0, 2))).details['value'], 2)
    const shape = { heads: 2, kvHeads: 1, tokens: 2, dim: 2 }
    refused(t, 'q.length', () => kernel.scoreLastQuery(new Float32Array(3), four, shape))
    refused(t, 'k.length', () => kernel.scoreLastQuery(four, new Float32Array(3), shape))
    refused(t, 'shape.heads', () => kernel.scoreLastQuery(four, four, { ...shape, heads: 3, kvHeads: 2 }))
  })

  test(`${name}: detached, shared and overlapping memory is refused`, (t) => {
    const gone = new Float32Array(4)
    structuredClone(gone.buffer, { transfer: [gone.buffer] })
    refused(t, 'scores', () => kernel.selectTopK(gone, 0))
    refused(t, 'x', () => kernel.avgPool1d(new Float32Array(new SharedArrayBuffer(16)), 3))
    const memory = new ArrayBuffer(32)
    const x = new Float32Array(memory, 0, 4)
    refused(t, 'out', () => kernel.avgPool1d(x, 3, new Float32Array(memory, 12, 4)))
    t.notThrows(() => kernel.avgPool1d(x, 3, new Float32Array(memory, 16, 4)))
  })
}
