import { resolve } from 'node:path'
import type { Command } from 'commander'
import { invalidOption } from '../../errors.js'
import { policies as make } from '../../policy.js'
import {
  type BenchmarkFile,
  type EvaluationCell,
  type EvaluationPlan,
  type EvaluationSummary,
  type Mean,
  evaluate,
} from '../../study.js'
import type { Policy } from '../../types.js'
import { type ModelFlags, addModelFlags, flag, modelByDefault, number, policyList, whole, wholes } from '../flags.js'
import { interruptible } from '../interrupt.js'
import { openModel } from '../open.js'
import { Pace } from '../render/pace.js'
import { ProgressLine } from '../render/progress.js'
import { table } from '../render/table.js'
import { bytes, count, duration } from '../render/units.js'

const tasks = 'needle,paraphrase,multikey,multivalue,multiquery,twohop,continuation'
const formats = ['longbench', 'ruler', 'infinitebench', 'needle'] as const
const families = {
  single: 'single facts',
  several: 'several facts',
  words: 'word counts',
  continuation: 'continuations',
}

type Control = number | { ratio: number }

interface Flags extends ModelFlags {
  file?: string
  tasks: string[]
  lengths: number[]
  cases: number
  seed: number
  policies: Policy[]
  control: Control
  benchmark: BenchmarkFile[]
  templates?: string
  asPublished?: boolean
  selectOnly?: boolean
  out: string
  json?: boolean
}

export function evalCommand(program: Command, done: (code: number) => void): void {
  const command = program
    .command('eval')
    .summary('measure policies on questions with known answers')
    .description(
      'Hides facts in a text (or reads the files of a benchmark), asks every policy, and writes records, a summary, a table ' +
        'and an HTML report into a folder. A run that was stopped goes on where it ended.',
    )
    .argument('[model]', `the model ${modelByDefault}`)
  addModelFlags(command)
    .addOption(flag('-f, --file <path>', 'the text to hide facts in, a book or longer'))
    .addOption(flag('--tasks <list>', 'tasks, separated by commas', names).default(names(tasks), tasks))
    .addOption(flag('--lengths <list>', 'document lengths in tokens', wholes).default([1000, 2000], '1000,2000'))
    .addOption(flag('--cases <n>', 'cases of each task and length', whole).default(10))
    .addOption(flag('--seed <n>', 'the first seed', whole).default(0))
    .addOption(
      flag('--policies <list>', 'policies beside full', policyList).default(
        policyList('auto,gemfilter'),
        'auto,gemfilter',
      ),
    )
    .addOption(
      flag('--control <budget>', 'what the controls keep, in tokens or percent; 0: no controls', share).default(
        { ratio: 0.2 },
        '20%',
      ),
    )
    .addOption(
      flag(
        '--benchmark <format:path>',
        'a file of longbench, ruler or infinitebench, or needle and a folder of texts; may be repeated',
        files,
      ).default([], 'none'),
    )
    .addOption(flag('--templates <path>', 'prompts for a longbench or infinitebench file, as its repository has them'))
    .addOption(flag('--as-published', 'the needle benchmark with the two flaws of the published harness'))
    .addOption(flag('--select-only', 'measure what policies keep and let them answer nothing'))
    .addOption(flag('-o, --out <folder>', 'where results go').default('skimlm-eval'))
    .addOption(flag('--json', 'print the summary as JSON'))
    .action(async (name: string | undefined, flags: Flags) => done(await run(name, flags)))
}

async function run(name: string | undefined, flags: Flags): Promise<number> {
  if (flags.file === undefined && flags.benchmark.length === 0)
    throw invalidOption('--file', undefined, 'a text to hide facts in, or give --benchmark')
  const plan = toPlan(flags)
  return interruptible(async (interrupts) => {
    const progress = new ProgressLine()
    const model = await openModel(name, flags, progress, interrupts.signal)
    try {
      const stop = new AbortController()
      const pace = new Pace()
      interrupts.soften(() => stop.abort())
      const summary = await evaluate(model, plan, {
        signal: stop.signal,
        onProgress: (p) =>
          progress.show(`measuring${pace.left(p.done, p.total)}`, p.done, p.total, (n) => `${count(n)} records`),
      })
      progress.clear()
      process.stdout.write(flags.json ? `${JSON.stringify(summary)}\n` : text(summary))
      process.stderr.write(`${resolve(flags.out, 'report.html')}\n`)
    } finally {
      progress.clear()
      await model.dispose()
    }
  })
}

function toPlan({
  file,
  tasks: wanted,
  lengths,
  cases,
  seed,
  policies,
  control,
  benchmark,
  templates,
  asPublished,
  selectOnly,
  out,
}: Flags): EvaluationPlan {
  const seen = new Map<string, number>([['full', 1]])
  const named = policies
    .filter((policy) => policy.kind !== 'full')
    .map((policy) => {
      const times = (seen.get(policy.kind) ?? 0) + 1
      seen.set(policy.kind, times)
      return { name: times === 1 ? policy.kind : `${policy.kind} ${times}`, policy }
    })
  return {
    ...(file === undefined ? {} : { text: resolve(file), tasks: wanted }),
    lengths,
    cases,
    seed,
    files: withSettings(benchmark, templates, asPublished),
    selectOnly: selectOnly === true,
    // A policy that is also a control is measured as it was asked for.
    policies: [
      { name: 'full', policy: make.full() },
      ...named,
      ...controls(control).filter(({ name }) => !seen.has(name)),
    ],
    output: resolve(out),
  }
}

/** The benchmarks with what their formats know. */
function withSettings(
  benchmark: BenchmarkFile[],
  templates: string | undefined,
  asPublished: boolean | undefined,
): BenchmarkFile[] {
  const prompted = ({ format }: BenchmarkFile) => format === 'longbench' || format === 'infinitebench'
  const needle = ({ format }: BenchmarkFile) => format === 'needle'
  if (templates !== undefined && !benchmark.some(prompted))
    throw invalidOption('--templates', templates, 'a longbench or infinitebench file given by --benchmark')
  if (asPublished && !benchmark.some(needle))
    throw invalidOption('--as-published', true, 'a needle folder given by --benchmark')
  return benchmark.map((file) => ({
    ...file,
    ...(templates !== undefined && prompted(file) ? { templates: resolve(templates) } : {}),
    ...(asPublished && needle(file) ? { asPublished } : {}),
  }))
}

function controls(budget: Control): EvaluationPlan['policies'] {
  if (budget === 0) return []
  // A share is one of the prompt on top of what always stays, as in the settings of `auto`.
  const chargeBudget = typeof budget === 'number'
  const pins = { chargeBudget }
  return [
    { name: 'random', policy: make.random({ budget, pins }) },
    { name: 'firstlast', policy: make.firstlast({ budget, pins }) },
    ...(typeof budget === 'number' && budget > 4
      ? [{ name: 'sinkwindow', policy: make.sinkwindow({ sink: 4, recent: budget - 4 }) }]
      : []),
    { name: 'bm25', policy: { kind: 'bm25', budget, chargeBudget } },
  ]
}

function share(value: string): Control {
  if (!value.endsWith('%')) return whole(value)
  const ratio = number(value.slice(0, -1)) / 100
  return ratio === 0 ? 0 : { ratio }
}

function text(summary: EvaluationSummary): string {
  const head = ['', 'cases', 'score', 'against full', 'evidence', 'loss', 'kept', 'first token', 'speedup', 'memory']
  const interval = (mean: Mean | null, digits = 2, sign = '') =>
    mean === null
      ? '-'
      : `${sign && mean.mean >= 0 ? sign : ''}${mean.mean.toFixed(digits)} (${mean.low.toFixed(digits)} to ${mean.high.toFixed(digits)})`
  const row = (label: string, cell: EvaluationCell) => [
    label,
    cell.errors > 0 ? `${cell.cases} + ${cell.errors} failed` : String(cell.cases),
    interval(cell.score),
    interval(cell.scoreDifference, 2, '+'),
    interval(cell.recall),
    interval(cell.lossDifference, 3, '+'),
    cell.kept === null ? '-' : `${(100 * cell.kept.mean).toFixed(1)} %`,
    cell.ttftMs === null ? '-' : duration(cell.ttftMs.mean),
    cell.speedup === null ? '-' : `${cell.speedup.toFixed(2)}x`,
    cell.peakBytes === null ? '-' : bytes(cell.peakBytes),
  ]
  const label = ({ task, family, length, policy }: EvaluationCell) =>
    length === undefined
      ? policy
      : `${task ?? (family ? `all ${families[family]}` : 'all')} ${length || 'any length'}: ${policy}`
  const parts = [summary.policies, summary.groups, summary.cells].filter((cells) => cells.length > 0)
  return parts.map((cells) => table([head, ...cells.map((cell) => row(label(cell), cell))])).join('\n')
}

function names(list: string): string[] {
  return list
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean)
}

/** `longbench:qasper.jsonl`, collected over repeated flags. */
function files(value: string, before: BenchmarkFile[] | undefined): BenchmarkFile[] {
  const [format = '', ...path] = value.split(':')
  const known = formats.find((name) => name === format)
  if (!known || path.length === 0)
    throw invalidOption('benchmark', value, `${formats.join(', ')} and a path, as in ruler:qa.jsonl`)
  return [...(before ?? []), { format: known, path: resolve(path.join(':')) }]
}
