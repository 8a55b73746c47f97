// One measurement of llama.cpp in a process of its own.
// argv: a JSON job { model, prompt, maxNewTokens, threads }, `prompt` being a file with { tokens } as JSON.
import { readFileSync } from 'node:fs'
import { getLlama } from 'node-llama-cpp'
import { peakBytes } from '../child/memory.mjs'

const job = JSON.parse(process.argv[2])
const { tokens } = JSON.parse(readFileSync(job.prompt, 'utf8'))

const { dependencies } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'))
const batchSize = 512

const llama = await getLlama({ gpu: false, build: 'never', maxThreads: job.threads, logLevel: 'error' })
const model = await llama.loadModel({ modelPath: job.model, gpuLayers: 0 })
const context = await model.createContext({
  contextSize: tokens.length + job.maxNewTokens + 16,
  batchSize,
  threads: job.threads,
  flashAttention: true,
  sequences: 1,
})
const sequence = context.getSequence()
await evaluate(model.tokenize('Once upon a time'), 2)
await sequence.clearHistory()

const { first, rest, ids } = await evaluate(tokens, job.maxNewTokens)
console.log(
  JSON.stringify({
    ttftMs: first,
    decodePerSecond: ids.length > 1 ? ((ids.length - 1) * 1000) / rest : 0,
    newTokens: ids.length,
    peakBytes: peakBytes(),
    release: {
      ...llama.llamaCppRelease,
      package: dependencies['node-llama-cpp'],
      attention: 'flash',
      batch: String(batchSize),
    },
    system: llama.systemInfo,
    firstTokens: ids.slice(0, 4),
  }),
)
await llama.dispose()

async function evaluate(input, limit) {
  const start = performance.now()
  let firstAt
  const ids = []
  let last = start
  for await (const token of sequence.evaluate(input, { temperature: 0, yieldEogToken: true })) {
    last = performance.now()
    firstAt ??= last
    if (ids.push(token) === limit) break
  }
  return { first: firstAt - start, rest: last - firstAt, ids }
}
