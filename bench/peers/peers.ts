// The same file, the same token ids, the same threads, greedy: skimlm beside llama.cpp, each measurement in its own
// process, interleaved. `npm run bench:peers` installs the peers and runs it with two threads and with one.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { loadModel } from '../../index.js'
import { resolveModel } from '../../src/hub/index.js'
import type { Activations, KvDtype } from '../../src/load-types.js'
import type { Policy } from '../../src/types.js'
import { book } from '../book.js'
import { plot } from '../plot.js'
import {
  inChild,
  interleave,
  machine,
  markdownTable,
  median,
  ratio,
  report,
  root,
  scratch,
  showRatio,
} from '../rounds.js'

interface Sample {
  ttftMs: number
  decodePerSecond: number
  newTokens: number
  peakBytes: number
  release?: { release: string }
  usage?: { keptTokens: number }
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    sizes: { type: 'string', default: '512,2048,8000' },
    threads: { type: 'string', default: '2' },
    new: { type: 'string', default: '33' },
    model: { type: 'string' },
    /** What the files in bench/results are called. */
    name: { type: 'string' },
  },
})
const threads = Number(values.threads)
const threadsInWords = threads === 1 ? '1 thread' : `${threads} threads`
const maxNewTokens = Number(values.new)
const path = await resolveModel(values.model)
const folder = scratch()
const k = 1024
/** The first choice in the settings 7-14 and 7-15 of the default model's built-in profile. */
const heads = [
  { layer: 7, head: 7 },
  { layer: 2, head: 4 },
]
const calibrated: Policy = { kind: 'gemfilter', budget: k, layer: 7, score: { heads, round: 'sentence' } }
const skimlm: Readonly<Record<string, { policy: Policy; kvDtype?: KvDtype; activations?: Activations }>> = {
  'skimlm full': { policy: { kind: 'full' } },
  'skimlm full, cache of 8 bits': { policy: { kind: 'full' }, kvDtype: 'q8_0' },
  'skimlm full, activations of 8 bits': { policy: { kind: 'full' }, activations: 'int8' },
  'skimlm gemfilter': { policy: { kind: 'gemfilter', budget: k } },
  'skimlm gemfilter, calibrated heads': { policy: calibrated },
  'skimlm gemfilter, calibrated heads, activations of 8 bits': { policy: calibrated, activations: 'int8' },
  'skimlm promptdistill': { policy: { kind: 'promptdistill', stages: [{ layer: 12, budget: k }] } },
}
const rival = 'llama.cpp'
const cases = [...Object.keys(skimlm), rival]

const model = await loadModel(path)
const ids = model.tokenizer.encode(book().slice(0, 200_000))
await model.dispose()

const rows = [
  ['prompt', 'engine', 'TTFT', 'prefill', 'decode', 'peak memory', 'TTFT against llama.cpp', 'decode', 'memory'],
]
const all: Record<number, Record<string, Sample[]>> = {}
let llama = ''
const sizes = values.sizes.split(',').map(Number)
for (const size of sizes) {
  const prompt = join(folder, `${size}.json`)
  writeFileSync(prompt, JSON.stringify({ tokens: Array.from(ids.subarray(0, size)) }))
  const job = { model: path, prompt, maxNewTokens, threads }
  // oxlint-disable-next-line no-await-in-loop
  const results = await interleave(Number(values.rounds), cases, (name) =>
    name === rival
      ? inChild<Sample>(join(root, 'bench/peers/llama.mjs'), job)
      : inChild<Sample>(join(root, 'bench/child/skimlm.mjs'), { ...job, ...skimlm[name] }),
  )
  all[size] = results
  const peer = results[rival]!
  llama = peer[0]?.release?.release ?? ''
  for (const name of cases) {
    const mine = results[name]!
    const ttft = mine.map((sample) => sample.ttftMs)
    const decode = mine.map((sample) => sample.decodePerSecond)
    const memory = mine.map((sample) => sample.peakBytes)
    const beside = (base: readonly number[], other: readonly number[]) =>
      name === rival ? '' : showRatio(ratio(base, other))
    const kept = mine[0]?.usage?.keptTokens
    rows.push([
      String(size),
      kept !== undefined && kept < size ? `${name} (kept ${kept})` : name,
      `${(median(ttft) / 1000).toFixed(2)} s`,
      `${Math.round((size * 1000) / median(ttft))} tokens/s`,
      `${median(decode).toFixed(1)} tokens/s`,
      `${Math.round(median(memory) / 1e6)} MB`,
      beside(
        peer.map((sample) => sample.ttftMs),
        ttft,
      ),
      beside(
        decode,
        peer.map((sample) => sample.decodePerSecond),
      ),
      beside(
        memory,
        peer.map((sample) => sample.peakBytes),
      ),
    ])
  }
}
const how = `llama.cpp ${llama} (node-llama-cpp 3.22.1, prebuilt): flash attention, batch 512. All: ${threadsInWords}, greedy, ${maxNewTokens} new tokens, the same token ids. Selections keep ${k} tokens: gemfilter at layer 15, with calibrated heads at layer 7, promptdistill at layer 12. ${values.rounds} interleaved rounds; medians, and medians of per-round ratios with their range. Above 1 is better for skimlm in the first two ratios, below 1 in the third.`
const name = values.name ?? (threads === 2 ? 'peers' : `peers-${threads}-thread`)
report(name, await machine(), `${how}\n\n${markdownTable(rows)}`, {
  llama,
  rounds: values.rounds,
  threads,
  maxNewTokens,
  results: all,
})
plot(name, {
  title: `Time to the first token, ${threadsInWords}, shorter is better`,
  groups: sizes.map((size) => `${size} tokens`),
  series: cases,
  values: sizes.map((size) => cases.map((each) => median(all[size]![each]!.map((sample) => sample.ttftMs)))),
  show: (ms) => `${(ms / 1000).toFixed(2)} s`,
})
