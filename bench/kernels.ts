// Selection kernels beside their plain JavaScript reference, and beside a sort of the typed array.
import { Bench } from 'tinybench'
import { kernels, reference } from '../index.js'
import { machine, median } from './rounds.js'

const sizes = [8 * 1024, 128 * 1024]
const keep = 1024
const window = 5
const heads = { heads: 9, kvHeads: 3, dim: 64 }

console.log(
  `${(await machine()).cpu}, Node ${process.version}; median time, and how many times faster than the reference`,
)
const rows: Record<string, string | number>[] = []
for (const tokens of sizes) {
  const scores = random(tokens)
  const q = random(heads.heads * heads.dim)
  const k = random(heads.kvHeads * tokens * heads.dim)
  const every = Uint32Array.from({ length: keep }, (_, i) => Math.floor((i * tokens) / keep))
  const shape = { ...heads, tokens }
  const out = {
    chosen: new Uint32Array(keep),
    pooled: new Float32Array(tokens),
    rows: new Float32Array(keep * heads.dim),
  }

  const sort = { 'typed-array sort': () => void scores.slice().sort() }
  rows.push(
    ...(await compare('selectTopK', tokens, (of) => of.selectTopK(scores, keep, { out: out.chosen }), sort)),
    ...(await compare('avgPool1d', tokens, (of) => of.avgPool1d(scores, window, out.pooled))),
    ...(await compare('gatherRows', tokens, (of) => of.gatherRows(k, heads.dim, every, out.rows))),
    ...(await compare('scoreLastQuery', tokens, (of) => of.scoreLastQuery(q, k, shape))),
  )
}
console.table(rows)

/** Interleaves the rivals round by round, so that a busy machine slows all of them alike. */
async function compare(
  name: string,
  tokens: number,
  work: (of: typeof kernels) => unknown,
  others: Record<string, () => void> = {},
): Promise<Record<string, string | number>[]> {
  const rivals: [string, () => unknown][] = [
    ['reference', () => work(reference)],
    ['native', () => work(kernels)],
    ...Object.entries(others),
  ]
  const timed = rivals.map(([, run]): { run: () => unknown; times: number[] } => ({ run, times: [] }))
  for (let round = 0; round < 5; round++)
    for (const rival of timed) {
      const bench = new Bench({ time: 60, warmupTime: 20, warmupIterations: 2, iterations: 3 })
      bench.add(name, () => void rival.run())
      await bench.run()
      const { result } = bench.tasks[0]!
      if (result.state !== 'completed') throw new Error(`${name}: ${result.state}`)
      rival.times.push(result.latency.p50)
    }
  const middle = timed.map(({ times }) => median(times))
  return rivals.map(([rival], i) => ({
    kernel: name,
    tokens,
    rival,
    ms: Number(middle[i]!.toPrecision(3)),
    ratio: Number((middle[0]! / middle[i]!).toPrecision(3)),
  }))
}

function random(n: number): Float32Array {
  return Float32Array.from({ length: n }, () => Math.random() * 2 - 1)
}
