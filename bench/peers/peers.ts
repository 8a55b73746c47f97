// The same file, the same token ids, the same threads, greedy: skimlm beside llama.cpp, each measurement in its own
// process, interleaved. `npm ci` in this folder first.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { loadModel } from '../../index.js'
import { resolveModel } from '../../src/hub/index.js'
import { book } from '../book.js'
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
  },
})
const threads = Number(values.threads)
const maxNewTokens = Number(values.new)
const path = await resolveModel(values.model)
const folder = scratch()
const cases = ['skimlm full', 'skimlm gemfilter', 'llama.cpp'] as const
const policies = { 'skimlm full': { kind: 'full' }, 'skimlm gemfilter': { kind: 'gemfilter' } }

const model = await loadModel(path)
const ids = model.tokenizer.encode(book().slice(0, 200_000))
await model.dispose()

const rows = [
  ['prompt', 'engine', 'TTFT', 'prefill', 'decode', 'peak memory', 'TTFT against llama.cpp', 'decode', 'memory'],
]
const all: Record<string, unknown> = {}
let llama = ''
for (const size of values.sizes.split(',').map(Number)) {
  const prompt = join(folder, `${size}.json`)
  writeFileSync(prompt, JSON.stringify({ tokens: Array.from(ids.subarray(0, size)) }))
  const job = { model: path, prompt, maxNewTokens, threads }
  const results = await interleave(Number(values.rounds), cases, (name) =>
    name === 'llama.cpp'
      ? inChild<Sample>(join(root, 'bench/peers/llama.mjs'), job)
      : inChild<Sample>(join(root, 'bench/child/skimlm.mjs'), { ...job, policy: policies[name] }),
  )
  all[size] = results
  const peer = results['llama.cpp']
  llama = peer[0]?.release?.release ?? ''
  for (const name of cases) {
    const mine = results[name]
    const ttft = mine.map((sample) => sample.ttftMs)
    const decode = mine.map((sample) => sample.decodePerSecond)
    const memory = mine.map((sample) => sample.peakBytes)
    const against = name === 'llama.cpp'
    const kept = mine[0]?.usage?.keptTokens
    rows.push([
      String(size),
      kept !== undefined && kept < size ? `${name} (kept ${kept})` : name,
      `${(median(ttft) / 1000).toFixed(2)} s`,
      `${Math.round((size * 1000) / median(ttft))} tokens/s`,
      `${median(decode).toFixed(1)} tokens/s`,
      `${Math.round(median(memory) / 1e6)} MB`,
      against
        ? ''
        : showRatio(
            ratio(
              peer.map((sample) => sample.ttftMs),
              ttft,
            ),
          ),
      against
        ? ''
        : showRatio(
            ratio(
              decode,
              peer.map((sample) => sample.decodePerSecond),
            ),
          ),
      against
        ? ''
        : showRatio(
            ratio(
              memory,
              peer.map((sample) => sample.peakBytes),
            ),
          ),
    ])
  }
}
const how = `llama.cpp ${llama} (node-llama-cpp 3.22.1, prebuilt): flash attention, batch 512. All: ${threads} threads, greedy, ${maxNewTokens} new tokens, the same token ids. ${values.rounds} interleaved rounds; medians, and medians of per-round ratios with their range. Above 1 is better for skimlm in the first two ratios, below 1 in the third.`
report('peers', await machine(), `${how}\n\n${markdownTable(rows)}`, {
  llama,
  rounds: values.rounds,
  threads,
  maxNewTokens,
  results: all,
})
