import { SkimError } from './errors.js'
import { checked } from './kernels.js'
import type { Kernels } from './types.js'

/** The kernels in plain JavaScript: what the native ones must answer, and what they are measured against. */
export const reference: Kernels = checked({
  selectTopK(scores, byScore, out) {
    finite('select', scores)
    const order = Uint32Array.from(scores, (_, i) => i).sort((a, b) => scores[b]! - scores[a]! || a - b)
    out.set(order.subarray(0, out.length))
    if (!byScore) out.sort()
  },
  avgPool1d(x, window, out) {
    finite('select', x)
    const reach = (window - 1) / 2
    for (let i = 0; i < x.length; i++) {
      let sum = 0
      for (let j = Math.max(0, i - reach); j <= Math.min(x.length - 1, i + reach); j++) sum += x[j]!
      out[i] = sum / window
    }
  },
  gatherRows(src, rowLength, rows, out) {
    rows.forEach((row, i) => out.set(src.subarray(row * rowLength, (row + 1) * rowLength), i * rowLength))
  },
  scoreLastQuery(q, k, kvHeads, dim, out) {
    const heads = q.length / dim
    for (let head = 0; head < heads; head++) {
      const base = Math.floor(head / (heads / kvHeads)) * out.length * dim
      for (let token = 0; token < out.length; token++) {
        let score = 0
        for (let i = 0; i < dim; i++) score += q[head * dim + i]! * k[base + token * dim + i]!
        out[token]! += score
      }
    }
    finite('scores', out)
  },
})

function finite(op: string, scores: Float32Array): void {
  const bad = scores.findIndex((score) => !Number.isFinite(score))
  if (bad < 0) return
  throw new SkimError('ERR_NUMERICS', `${op}: value ${scores[bad]} at ${bad} is not finite`, { index: bad })
}
