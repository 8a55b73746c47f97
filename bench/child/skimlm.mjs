// One measurement in a process of its own: plain Node on the built package, so that the memory is what a user sees.
// argv: a JSON job { prompt, policy, maxNewTokens, threads, kvDtype, activations }, `prompt` being a file with a prompt as JSON.
import { readFileSync } from 'node:fs'
import { loadModel } from '../../dist/index.js'
import { peakBytes } from './memory.mjs'

const job = JSON.parse(process.argv[2])
const prompt = JSON.parse(readFileSync(job.prompt, 'utf8'))
if (prompt.tokens) prompt.tokens = Uint32Array.from(prompt.tokens)

const { threads, kvDtype, activations } = job
const model = await loadModel(job.model, { device: 'cpu', threads, kvDtype, activations })
// The first pages of the weights and the first use of every code path are not what is measured.
await model.generate('Once upon a time', { maxNewTokens: 2 }).result

const start = performance.now()
const generation = model.generate(prompt, { policy: job.policy, maxNewTokens: job.maxNewTokens, temperature: 0 })
let first
const ids = []
let last = start
for await (const chunk of generation) {
  last = performance.now()
  first ??= { at: last, tokens: chunk.tokenIds.length }
  ids.push(...chunk.tokenIds)
}
// An answer without a token has taken until here; one that came at once has no speed.
first ??= { at: performance.now(), tokens: 0 }
const steps = ids.length - first.tokens
const result = await generation.result
await model.dispose()

console.log(
  JSON.stringify({
    ttftMs: first.at - start,
    decodePerSecond: steps > 0 ? (steps * 1000) / (last - first.at) : 0,
    newTokens: ids.length,
    peakBytes: peakBytes(),
    usage: result.usage,
    timings: result.timings,
    memory: result.memory,
    firstTokenTop: result.firstTokenTop,
    text: result.text,
    firstTokens: ids.slice(0, 4),
  }),
)
