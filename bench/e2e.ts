// Selection beside full attention, from text to the first chunk out of the JavaScript iterator, and the iterator beside
// the bare Rust loop. Each measurement is a process of its own; rounds are interleaved.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { loadModel } from '../index.js'
import { resolveModel } from '../src/hub/index.js'
import type { Policy, Timings, Usage } from '../src/types.js'
import { book } from './book.js'
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
} from './rounds.js'

interface Sample {
  ttftMs: number
  decodePerSecond: number
  peakBytes: number
  usage: Usage
  timings: Timings
  text: string
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    sizes: { type: 'string', default: '1024,2048,4096,7680' },
    threads: { type: 'string', default: '2' },
    new: { type: 'string', default: '33' },
    model: { type: 'string' },
  },
})
const rounds = Number(values.rounds)
const threads = Number(values.threads)
const maxNewTokens = Number(values.new)
const path = await resolveModel(values.model)
const folder = scratch()
const question = 'What happens in this text?'
const policies: Record<'full' | 'gemfilter', Policy> = { full: { kind: 'full' }, gemfilter: { kind: 'gemfilter' } }
const child = join(root, 'bench/child/skimlm.mjs')

const model = await loadModel(path)
const { offsets } = model.tokenizer.encodeWithOffsets(book().slice(0, 200_000))
// The template and the question take some of the tokens.
const overhead = 64
await model.dispose()

const rows = [
  [
    'prompt',
    'kept',
    'TTFT full',
    'TTFT gemfilter',
    'full / gemfilter',
    'decode full',
    'decode gemfilter',
    'gemfilter / full',
    'peak memory full',
    'gemfilter',
  ],
]
const all: Record<string, unknown> = {}
for (const size of values.sizes.split(',').map(Number)) {
  const prompt = join(folder, `${size}.json`)
  const document = book().slice(0, offsets[2 * (size - overhead) - 1])
  writeFileSync(prompt, JSON.stringify({ document, question }))
  // oxlint-disable-next-line no-await-in-loop
  const results = await interleave(rounds, ['full', 'gemfilter'], (name) =>
    inChild<Sample>(child, { model: path, prompt, policy: policies[name], maxNewTokens, threads }),
  )
  all[size] = results
  const of = (name: keyof typeof policies, pick: (sample: Sample) => number) => results[name].map(pick)
  const [ttft, ttftKept] = [of('full', (s) => s.ttftMs), of('gemfilter', (s) => s.ttftMs)]
  const [decode, decodeKept] = [of('full', (s) => s.decodePerSecond), of('gemfilter', (s) => s.decodePerSecond)]
  const usage = results.gemfilter[0]!.usage
  const megabytes = (name: keyof typeof policies) => `${Math.round(median(of(name, (s) => s.peakBytes)) / 1e6)} MB`
  rows.push([
    String(usage.promptTokens),
    String(usage.keptTokens),
    `${(median(ttft) / 1000).toFixed(2)} s`,
    `${(median(ttftKept) / 1000).toFixed(2)} s`,
    showRatio(ratio(ttft, ttftKept)),
    `${median(decode).toFixed(1)} tokens/s`,
    `${median(decodeKept).toFixed(1)} tokens/s`,
    showRatio(ratio(decodeKept, decode)),
    megabytes('full'),
    megabytes('gemfilter'),
  ])
}

const bridge = await measureBridge()
const own = bridge.iterator.map((sample) => sample.timings.tokensPerSecond)
const outside = bridge.iterator.map((sample) => sample.decodePerSecond)
const how = `Moby Dick, ${threads} threads, greedy, at most ${maxNewTokens} new tokens; gemfilter with its defaults. TTFT runs from the text to the first chunk out of the iterator, tokenizing included. ${rounds} interleaved rounds; medians, and medians of per-round ratios with their range. Peak memory is VmHWM of the whole Node process.`
const tail = `Bridge: the iterator gives ${median(outside).toFixed(1)} tokens/s, which is ${showRatio(ratio(outside, own))} of what the engine counts in the same run and ${showRatio(ratio(outside, bridge.rust))} of the bare Rust loop.`
report('e2e', await machine(), `${how}\n\n${markdownTable(rows)}\n${tail}\n`, {
  rounds,
  threads,
  maxNewTokens,
  results: all,
  bridge,
})

/** Decoding speed of one request through the iterator and through the engine's own example. */
async function measureBridge(): Promise<{ iterator: Sample[]; rust: number[] }> {
  const request = join(folder, 'bridge.json')
  const prompt = join(folder, 'bridge-prompt.json')
  const text = 'The sea was calm, and'
  const tokens = 400
  writeFileSync(prompt, JSON.stringify(text))
  writeFileSync(request, JSON.stringify({ prompt: text, maxNewTokens: tokens, sampling: { temperature: 0 } }))
  const cargo = ['--release', '-p', 'skimlm-engine', '--example', 'generate']
  execFileSync('cargo', ['build', '--quiet', '--locked', ...cargo], { cwd: root, stdio: 'inherit' })
  const job = { model: path, prompt, policy: policies.full, maxNewTokens: tokens, threads }
  const run = ['run', '--quiet', '--locked', ...cargo, '--', path, request, String(threads)]
  const iterator: Sample[] = []
  const rust: number[] = []
  for (let round = 1; round <= rounds; round++) {
    process.stderr.write(`round ${round} of ${rounds}: bridge\n`)
    // oxlint-disable-next-line no-await-in-loop
    iterator.push(await inChild<Sample>(child, job))
    const outcome = JSON.parse(execFileSync('cargo', run, { cwd: root, encoding: 'utf8' })) as { timings: Timings }
    rust.push(outcome.timings.tokensPerSecond)
  }
  return { iterator, rust }
}
