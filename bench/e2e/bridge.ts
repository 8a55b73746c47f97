import { execFileSync } from 'node:child_process'
import type { Timings } from '../../src/types.js'
import { median, ratio, root, showRatio } from '../rounds.js'
import type { Bench, Sample } from './job.js'

/** Decoding speed of one request through the iterator and through the engine's own example. */
export async function measureBridge(bench: Bench): Promise<{ sentence: string; data: object }> {
  const text = 'The sea was calm, and'
  const tokens = 400
  const prompt = bench.prompt('bridge-prompt', text)
  const request = bench.prompt('bridge', { prompt: text, maxNewTokens: tokens, sampling: { temperature: 0 } })
  const cargo = ['--release', '-p', 'skimlm-engine', '--example', 'generate']
  execFileSync('cargo', ['build', '--quiet', '--locked', ...cargo], { cwd: root, stdio: 'inherit' })
  const run = ['run', '--quiet', '--locked', ...cargo, '--', bench.model, request, String(bench.threads)]
  const iterator: Sample[] = []
  const rust: number[] = []
  for (let round = 1; round <= bench.rounds; round++) {
    process.stderr.write(`round ${round} of ${bench.rounds}: bridge\n`)
    // oxlint-disable-next-line no-await-in-loop
    iterator.push(await bench.measure(prompt, { kind: 'full' }, tokens))
    const outcome = JSON.parse(execFileSync('cargo', run, { cwd: root, encoding: 'utf8' })) as { timings: Timings }
    rust.push(outcome.timings.tokensPerSecond)
  }
  const outside = iterator.map((sample) => sample.decodePerSecond)
  const own = iterator.map((sample) => sample.timings.tokensPerSecond)
  const sentence = `Bridge: the iterator gives ${median(outside).toFixed(1)} tokens/s, which is ${showRatio(ratio(outside, own))} of what the engine counts in the same run and ${showRatio(ratio(outside, rust))} of the bare Rust loop.`
  return { sentence, data: { iterator, rust } }
}
