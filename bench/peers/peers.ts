// The same file, the same token ids, the same threads, greedy: skimlm beside other engines, each measurement in its own
// process, interleaved. `npm run bench:peers` installs the peers and runs it with two threads and with one. Flags go to
// `npm --prefix bench/peers run bench --`, as `bench:peers` would give them to the run with one thread alone; `--peers
// llama.cpp` leaves the others out.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { loadModel } from '../../index.js'
import { resolveModel } from '../../src/hub/index.js'
import type { Activations, KvDtype } from '../../src/load-types.js'
import type { Policy } from '../../src/types.js'
import { book } from '../book.js'
import { plot } from '../plot.js'
import { inChild, interleave, machine, middle, report, root, scratch, seconds } from '../rounds.js'
import { type Rival, type Sample, rivals } from './rivals.js'
import { beside, engines } from './table.js'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    sizes: { type: 'string', default: '512,2048,8000' },
    threads: { type: 'string', default: '2' },
    new: { type: 'string', default: '33' },
    model: { type: 'string' },
    peers: { type: 'string', default: Object.keys(rivals).join(',') },
    /** What the files in bench/results are called. */
    name: { type: 'string' },
  },
})
const threads = Number(values.threads)
const threadsInWords = threads === 1 ? '1 thread' : `${threads} threads`
const maxNewTokens = Number(values.new)
const rounds = Number(values.rounds)
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

/** The rivals that can run here, and a word on those that cannot. */
const found = new Map<string, Rival>()
const missing: string[] = []
for (const name of values.peers.split(',').filter(Boolean)) {
  const open = rivals[name]
  if (!open) throw new Error(`There is no peer ${name}: ${Object.keys(rivals).join(', ')}.`)
  try {
    found.set(name, open())
  } catch (error) {
    process.stderr.write(`${name} is left out: ${(error as Error).message}\n`)
    missing.push(`${name} is left out: it could not be installed here.`)
  }
}
const cases = [...Object.keys(skimlm), ...found.keys()]

const model = await loadModel(path)
const ids = model.tokenizer.encode(book())
await model.dispose()
const sizes = values.sizes.split(',').map(Number)
for (const size of sizes)
  if (!(size > 0 && size <= ids.length))
    throw new Error(`A prompt of ${size} tokens cannot be made: name a size from 1 to ${ids.length}.`)

const all = new Map<number, Record<string, Sample[]>>()
for (const size of sizes) {
  const prompt = join(folder, `${size}.json`)
  writeFileSync(prompt, JSON.stringify({ tokens: Array.from(ids.subarray(0, size)) }))
  const job = { model: path, prompt, maxNewTokens, threads }
  // oxlint-disable-next-line no-await-in-loop
  const results = await interleave(rounds, cases, (name) =>
    found.has(name)
      ? found.get(name)!.measure(job)
      : inChild<Sample>(join(root, 'bench/child/skimlm.mjs'), { ...job, ...skimlm[name] }),
  )
  all.set(size, results)
  const ours = results['skimlm full']![0]!.firstTokens
  // The same work gives the same tokens, except where two are near a tie: engines round differently.
  for (const name of found.keys()) {
    const theirs = results[name]![0]!.firstTokens
    const part = ours.findIndex((id, at) => id !== theirs[at])
    if (part >= 0)
      process.stderr.write(
        `${size} tokens: new token ${part + 1} is ${theirs[part]} in ${name}, ${ours[part]} in skimlm\n`,
      )
  }
}

const [main, ...others] = found.keys()
const releases = new Map<string, NonNullable<Sample['release']>>()
for (const each of found.keys()) releases.set(each, all.values().next().value?.[each]?.[0]?.release ?? {})
const about = [...Array.from(found, ([name, rival]) => rival.about(releases.get(name)!)), ...missing]
const how = `${about.join(' ')} All: ${threadsInWords}, greedy, ${maxNewTokens} new tokens, the same token ids. Selections keep ${k} tokens: gemfilter at layer 15, with calibrated heads at layer 7, promptdistill at layer 12. ${rounds} interleaved rounds; medians, and medians of per-round ratios with their range. Above 1 is better for the row's engine in the first two ratios, below 1 in the third.`
const tables = [engines(all, main), ...others.map((rival) => beside(all, Object.keys(skimlm), rival))]
const name = values.name ?? (threads === 2 ? 'peers' : `peers-${threads}-thread`)
const data = {
  peers: Object.fromEntries(releases),
  rounds,
  threads,
  maxNewTokens,
  results: Object.fromEntries(all),
}
report(name, await machine(), `${how}\n\n${tables.join('\n')}`, data, `${how}\n\n${tables[0]}`)
plot(name, {
  title: `Time to the first token, ${threadsInWords}, shorter is better`,
  groups: Array.from(all.keys(), (size) => `${size} tokens`),
  series: cases,
  values: Array.from(all.values(), (results) => cases.map((each) => middle(results[each]!, ({ ttftMs }) => ttftMs))),
  show: seconds,
})
