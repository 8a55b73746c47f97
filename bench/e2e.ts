// From text to the first chunk out of the JavaScript iterator: gemfilter beside full attention at several lengths, every
// policy at two, and the iterator beside the bare Rust loop. Each measurement is a process of its own; rounds are
// interleaved. `--only sizes`, `--only policies` or `--only disturbed` (beside processes that never rest) runs one part;
// `--only plot` draws the policies anew from their last results.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { resolveModel } from '../src/hub/index.js'
import { measureBridge } from './e2e/bridge.js'
import { measureDisturbed } from './e2e/disturbed.js'
import { openBench } from './e2e/job.js'
import { comparePolicies, plotPolicies } from './e2e/policies.js'
import { compareSizes } from './e2e/sizes.js'
import { machine, report, root } from './rounds.js'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    sizes: { type: 'string' },
    threads: { type: 'string', default: '2' },
    new: { type: 'string', default: '33' },
    model: { type: 'string' },
  },
})
const bench = openBench(
  await resolveModel(values.model),
  Number(values.rounds),
  Number(values.threads),
  Number(values.new),
)
const { rounds, threads, maxNewTokens } = bench
const settings = { rounds, threads, maxNewTokens }
const sizes = (usual: string) => (values.sizes ?? usual).split(',').map(Number)
const how = `Moby Dick, ${threads} threads, greedy, at most ${maxNewTokens} new tokens. TTFT runs from the text to the first chunk out of the iterator, tokenizing included. ${rounds} interleaved rounds`
const numbers =
  'medians, and medians of per-round ratios with their range. Peak memory is VmHWM of the whole Node process.'

const parts = ['sizes', 'policies', 'disturbed', 'plot']
if (values.only !== undefined && !parts.includes(values.only))
  throw new Error(`There is no part ${values.only}: ${parts.join(', ')}.`)
const wanted = (part: string) => values.only === undefined || values.only === part

if (wanted('sizes')) {
  const { table, data } = await compareSizes(bench, sizes('1024,2048,4096,7680'))
  const bridge = await measureBridge(bench)
  const body = `${how}; ${numbers} Gemfilter has its defaults.\n\n${table}\n${bridge.sentence}\n`
  report('e2e', await machine(), body, { ...settings, results: data, bridge: bridge.data })
}
if (wanted('policies')) {
  const { table, data } = await comparePolicies(bench, sizes('2048,7680'))
  const what =
    'Every policy but `full` and `auto`, which chooses for itself, keeps about 1024 tokens (of each head, where heads choose); other options have their defaults. The last column is a first look at quality, not a measure of it.'
  report('policies', await machine(), `${how}; ${numbers} ${what}\n\n${table}`, { ...settings, results: data })
}
if (wanted('disturbed')) {
  const { table, data } = await measureDisturbed(bench, sizes('512,2048,7680'))
  const what =
    'Full attention beside other processes that compute all the time. TTFT quiet is a median; beside others it is that of the worst round, and so is its ratio to the quiet median.'
  report('disturbed', await machine(), `${how}. ${what}\n\n${table}`, { ...settings, results: data })
}
if (wanted('plot')) plotPolicies(JSON.parse(readFileSync(join(root, 'bench/results/policies.json'), 'utf8')).results)
