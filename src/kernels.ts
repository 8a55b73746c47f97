import { invalidOption, SkimError } from './errors.js'
import { call } from './native.js'
import type { Kernels } from './types.js'

/** The kernels proper: lengths have been checked, `out` has exactly the length of the answer. */
export interface RawKernels {
  /** Fills `out` with the indices of as many largest scores as it holds. */
  selectTopK(scores: Float32Array, byScore: boolean, out: Uint32Array): void
  /** Fills `out`, as long as `x`, with the averages. */
  avgPool1d(x: Float32Array, window: number, out: Float32Array): void
  /** Fills `out` with the named rows, one behind the other. */
  gatherRows(src: Float32Array, rowLength: number, rows: Uint32Array, out: Float32Array): void
  /** Fills `out` with one score a token. */
  scoreLastQuery(q: Float32Array, k: Float32Array, kvHeads: number, dim: number, out: Float32Array): void
}

/** Checks arguments and allocates answers, for the native kernels and the reference alike. */
export function checked(raw: RawKernels): Kernels {
  return Object.freeze<Kernels>({
    selectTopK(scores, k, { order = 'index', out } = {}) {
      numbers('scores', scores)
      count('k', k, 0, scores.length)
      if (order !== 'index' && order !== 'score') throw invalidOption('order', order, '"index" or "score"')
      const answer = room(out, k, Uint32Array, [scores])
      raw.selectTopK(scores, order === 'score', answer)
      return answer
    },
    avgPool1d(x, window, out) {
      numbers('x', x)
      count('window', window, 1, 2 ** 31)
      if (window % 2 === 0) throw invalidOption('window', window, 'odd')
      const answer = room(out, x.length, Float32Array, [x])
      raw.avgPool1d(x, window, answer)
      return answer
    },
    gatherRows(src, rowLength, rows, out) {
      numbers('src', src)
      count('rowLength', rowLength, 1, 2 ** 31)
      if (src.length % rowLength !== 0)
        throw invalidOption('rowLength', rowLength, `a divisor of the ${src.length} values of \`src\``)
      array('rows', rows, Uint32Array)
      const available = src.length / rowLength
      const bad = rows.find((row) => row >= available)
      if (bad !== undefined) throw invalidOption('rows', bad, `below the ${available} rows of \`src\``)
      const answer = room(out, rows.length * rowLength, Float32Array, [src, rows])
      raw.gatherRows(src, rowLength, rows, answer)
      return answer
    },
    scoreLastQuery(q, k, { heads, kvHeads, tokens, dim }) {
      numbers('q', q)
      numbers('k', k)
      count('shape.kvHeads', kvHeads, 1, 2 ** 16)
      count('shape.heads', heads, 1, 2 ** 16)
      count('shape.dim', dim, 1, 2 ** 16)
      count('shape.tokens', tokens, 0, 2 ** 31)
      if (heads % kvHeads !== 0) throw invalidOption('shape.heads', heads, `a multiple of the ${kvHeads} kv heads`)
      length('q', q, heads * dim)
      length('k', k, kvHeads * tokens * dim)
      const answer = new Float32Array(tokens)
      raw.scoreLastQuery(q, k, kvHeads, dim, answer)
      return answer
    },
  })
}

/** The native kernels. */
export const kernels: Kernels = checked({
  selectTopK: (...args) => call((native) => native.selectTopK(...args)),
  avgPool1d: (...args) => call((native) => native.avgPool1d(...args)),
  gatherRows: (...args) => call((native) => native.gatherRows(...args)),
  scoreLastQuery: (...args) => call((native) => native.scoreLastQuery(...args)),
})

type Numbers = Float32Array | Uint32Array
type Constructor<T extends Numbers> = {
  readonly BYTES_PER_ELEMENT: number
  readonly name: string
  new (length: number): T
}

const numbers = (name: string, value: Float32Array) => array(name, value, Float32Array)

function array<T extends Numbers>(name: string, value: T, type: Constructor<T>): void {
  if (!(value instanceof type)) throw invalidOption(name, value, `a ${type.name}`)
  const { buffer } = value
  // Another thread could write while a native kernel reads.
  if (buffer instanceof SharedArrayBuffer) throw invalidOption(name, 'SharedArrayBuffer', 'memory of this thread alone')
  if ((buffer as ArrayBuffer & { detached?: boolean }).detached ?? isDetached(value))
    throw new SkimError(
      'ERR_INVALID_ARG',
      `The buffer of \`${name}\` is detached: it was transferred to another thread.`,
      {
        option: name,
        value: 'detached buffer',
        expected: 'a live buffer',
      },
    )
}

/** `ArrayBuffer.prototype.detached` is younger than Node 20. */
function isDetached(value: Numbers): boolean {
  if (value.buffer.byteLength !== 0) return false
  try {
    value.buffer.slice(0, 0)
    return false
  } catch {
    return true
  }
}

function count(name: string, value: number, min: number, max: number): void {
  if (!Number.isSafeInteger(value) || value < min || value > max)
    throw invalidOption(name, value, `a whole number from ${min} to ${max}`)
}

function length(name: string, value: Numbers, wanted: number): void {
  if (value.length !== wanted) throw invalidOption(`${name}.length`, value.length, String(wanted))
}

/** The part of `out` that the answer fills, or a new array. */
function room<T extends Numbers>(out: T | undefined, wanted: number, type: Constructor<T>, inputs: Numbers[]): T {
  if (out === undefined) return new type(wanted)
  array('out', out, type)
  if (out.length < wanted) throw invalidOption('out.length', out.length, `at least ${wanted}`)
  const answer = out.subarray(0, wanted) as T
  if (inputs.some((input) => overlap(answer, input)))
    throw invalidOption('out', 'memory of an input', 'memory of its own')
  return answer
}

function overlap(a: Numbers, b: Numbers): boolean {
  return (
    a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.byteLength && b.byteOffset < a.byteOffset + a.byteLength
  )
}
