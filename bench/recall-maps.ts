/**
 * Where in a document a selection finds its evidence: `npm run plot:recall` draws the recall of bench/results/eval.json by
 * length and depth.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { maps } from './plot.js'
import { root } from './rounds.js'

interface Run {
  cases: string[]
  policies: { name: string; recall: (number | null)[] | null }[]
}

const shown = ['gemfilter as published, layer 15', 'heads 2.4 + 2.1, as it is', 'heads 2.4 + 1.3', 'head 7.7']
const bands = 5

const { runs } = JSON.parse(readFileSync(join(root, 'bench/results/eval.json'), 'utf8')) as { runs: { recall: Run } }
const { cases, policies } = runs.recall
const places = cases.map((id) => {
  const [, length, depth] = /-(\d+)-d([\d.]+)-e\d+$/.exec(id) ?? []
  if (length === undefined || depth === undefined) throw new Error(`the case ${id} has no depth`)
  return { length: Number(length), band: Math.min(bands - 1, Math.floor((Number(depth) * bands) / 100)) }
})
const lengths = [...new Set(places.map(({ length }) => length))].sort((a, b) => a - b)

/** The mean recall of the cases in one cell of a map. */
function mean(recall: (number | null)[], band: number, length: number): number {
  const found = recall.filter((_, i) => places[i]!.band === band && places[i]!.length === length)
  const known = found.filter((value) => value !== null)
  if (known.length === 0) throw new Error(`no case of ${length} tokens in band ${band}`)
  return known.reduce((sum, value) => sum + value, 0) / known.length
}

maps('recall', {
  title: 'Evidence recall at a tenth of the text, by depth of the fact and tokens',
  series: shown,
  rows: Array.from({ length: bands }, (_, band) => `${(band * 100) / bands} to ${((band + 1) * 100) / bands} %`),
  columns: lengths.map(String),
  values: shown.map((name) => {
    const recall = policies.find((policy) => policy.name === name)?.recall
    if (!recall) throw new Error(`bench/results/eval.json has no recall of ${name}`)
    return Array.from({ length: bands }, (_, band) => lengths.map((length) => mean(recall, band, length)))
  }),
})
