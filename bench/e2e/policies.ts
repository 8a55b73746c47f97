import { policies } from '../../src/policy.js'
import type { Policy } from '../../src/types.js'
import { plot } from '../plot.js'
import { interleave, markdownTable, megabytes, middle, perSecond, ratio, seconds, showRatio } from '../rounds.js'
import { type Bench, type Sample, bookPrompts } from './job.js'

const k = 1024

/** Full attention, `auto`, which chooses how much it keeps, and the others at about the same number of kept tokens. */
const contenders: Readonly<Record<string, Policy>> = {
  full: policies.full(),
  auto: policies.auto(),
  gemfilter: policies.gemfilter({ budget: k }),
  'gemfilter r=12': policies.gemfilter({ budget: k, layer: 12 }),
  'promptdistill r=12': policies.promptdistill({ stages: [{ layer: 12, budget: k }] }),
  'promptdistill r=12, truncated': policies.promptdistill({ stages: [{ layer: 12, budget: k }], truncateStages: -1 }),
  snapkv: policies.snapkv({ budget: k }),
  pyramidkv: policies.pyramidkv({ budget: k }),
  adakv: policies.adakv({ budget: k }),
  h2o: policies.h2o({ heavy: k / 2, recent: k / 2 }),
  'h2o once': policies.h2o({ heavy: k / 2, recent: k / 2, decodeEvict: false }),
  tova: policies.tova({ budget: k }),
  knorm: policies.knorm({ budget: k }),
  keydiff: policies.keydiff({ budget: k }),
  sinkwindow: policies.sinkwindow({ sink: 4, recent: k - 4 }),
  random: policies.random({ budget: k }),
  firstlast: policies.firstlast({ budget: k }),
}

/** All policies at several lengths of the prompt. */
export async function comparePolicies(
  bench: Bench,
  sizes: readonly number[],
): Promise<{ table: string; data: Record<string, Record<string, Sample[]>> }> {
  const names = Object.keys(contenders)
  const head = ['prompt', 'policy', 'kept', 'TTFT', 'full / it', 'decode', 'it / full', 'KV cache', 'peak memory']
  const rows = [[...head, 'of full’s ten first tokens']]
  const data: Record<string, Record<string, Sample[]>> = {}
  for (const [size, prompt] of await bookPrompts(bench, sizes)) {
    // oxlint-disable-next-line no-await-in-loop
    const results = await interleave(bench.rounds, names, (name) => bench.measure(prompt, contenders[name]!))
    data[size] = results
    const full = results['full']!
    for (const name of names) {
      const own = results[name]!
      const compare = (a: Sample[], b: Sample[], pick: (sample: Sample) => number) =>
        name === 'full' ? '' : showRatio(ratio(a.map(pick), b.map(pick)))
      const first = new Set(full[0]!.firstTokenTop)
      rows.push([
        String(own[0]!.usage.promptTokens),
        name,
        String(own[0]!.usage.keptTokens),
        seconds(middle(own, (s) => s.ttftMs)),
        compare(full, own, (s) => s.ttftMs),
        perSecond(middle(own, (s) => s.decodePerSecond)),
        compare(own, full, (s) => s.decodePerSecond),
        megabytes(middle(own, (s) => s.memory.kvBytes)),
        megabytes(middle(own, (s) => s.peakBytes)),
        String(own[0]!.firstTokenTop.filter((id) => first.has(id)).length),
      ])
    }
  }
  return { table: markdownTable(rows), data }
}

/** Draws times to the first token from what `comparePolicies` measured. */
export function plotPolicies(data: Readonly<Record<string, Readonly<Record<string, readonly Sample[]>>>>): void {
  const sizes = Object.values(data)
  // Results may be older than the list: who was not measured is left out, and named.
  const [series, missing] = [true, false].map((wanted) =>
    Object.keys(contenders).filter((name) => sizes.every((results) => name in results) === wanted),
  ) as [string[], string[]]
  if (missing.length > 0) process.stderr.write(`not measured yet: ${missing.join(', ')}\n`)
  plot('policies', {
    title: 'Time to the first token by policy, about 1024 tokens kept (auto: its own choice), shorter is better',
    groups: sizes.map((results) => `${results['full']![0]!.usage.promptTokens} tokens`),
    series,
    values: sizes.map((results) => series.map((name) => middle(results[name]!, ({ ttftMs }) => ttftMs))),
    show: seconds,
  })
}
