import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadModel } from '../../index.js'
import type { GenerationResult, Policy, Timings, Usage } from '../../src/types.js'
import { book } from '../book.js'
import { inChild, root, scratch } from '../rounds.js'

/** What the child process measures. */
export interface Sample {
  ttftMs: number
  decodePerSecond: number
  newTokens: number
  peakBytes: number
  usage: Usage
  timings: Timings
  memory: GenerationResult['memory']
  firstTokenTop: number[]
  /** The first few new ids. */
  firstTokens: number[]
  text: string
}

export interface Bench {
  model: string
  rounds: number
  threads: number
  maxNewTokens: number
  /** Runs one prompt file under one policy in a process of its own. */
  measure(prompt: string, policy: Policy, maxNewTokens?: number): Promise<Sample>
  /** Writes a prompt, as JSON, for a child to read. */
  prompt(name: string, value: unknown): string
}

export function openBench(model: string, rounds: number, threads: number, maxNewTokens: number): Bench {
  const folder = scratch()
  const child = join(root, 'bench/child/skimlm.mjs')
  return {
    model,
    rounds,
    threads,
    maxNewTokens,
    measure: (prompt, policy, tokens = maxNewTokens) =>
      inChild<Sample>(child, { model, prompt, policy, maxNewTokens: tokens, threads }),
    prompt: (name, value) => {
      const path = join(folder, `${name}.json`)
      writeFileSync(path, JSON.stringify(value))
      return path
    },
  }
}

/** A prompt file of about so many tokens: the start of the book and a question. */
export async function bookPrompts(bench: Bench, sizes: readonly number[]): Promise<Map<number, string>> {
  const model = await loadModel(bench.model)
  const text = book()
  const { offsets } = model.tokenizer.encodeWithOffsets(text)
  await model.dispose()
  // The template and the question take some of the tokens.
  const overhead = 64
  const question = 'What happens in this text?'
  return new Map(
    sizes.map((size) => {
      const end = offsets[2 * (size - overhead) - 1]
      if (end === undefined)
        throw new Error(
          `A prompt of ${size} tokens cannot be made: name a size from ${overhead + 1} to ${offsets.length / 2 + overhead}.`,
        )
      const document = text.slice(0, end)
      return [size, bench.prompt(String(size), { document, question })]
    }),
  )
}
