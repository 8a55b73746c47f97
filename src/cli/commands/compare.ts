import type { Command } from 'commander'
import { harmless } from '../../harmless.js'
import type { GenerationResult, Policy } from '../../types.js'
import {
  type ModelFlags,
  type PromptFlags,
  addModelFlags,
  addPromptFlags,
  flag,
  modelByDefault,
  policyList,
  whole,
} from '../flags.js'
import { interruptible } from '../interrupt.js'
import { openModel } from '../open.js'
import { readPrompt, split } from '../question.js'
import { ProgressLine } from '../render/progress.js'
import { printWarnings } from '../render/result.js'
import { table } from '../render/table.js'
import { bytes, count, duration } from '../render/units.js'

const defaultPolicies = 'full,gemfilter,promptdistill,snapkv,h2o'

interface Flags extends ModelFlags, Omit<PromptFlags, 'policy'> {
  policies: Policy[]
  maxNewTokens: number
  json?: boolean
}

interface Row {
  policy: Policy
  result: GenerationResult
}

export function compareCommand(program: Command, done: (code: number) => void): void {
  const command = program
    .command('compare')
    .summary('ask the same question under several policies')
    .description('Answers one question under each policy, greedily and one after the other, and prints one table.')
    .usage('[options] [model] <question>')
    .argument('<question...>', `the model ${modelByDefault} and the question`)
  const policies = flag('--policies <list>', 'policies, separated by commas', policyList)
  addModelFlags(addPromptFlags(command, { policy: false }))
    .addOption(policies.default(policyList(defaultPolicies), defaultPolicies))
    .addOption(flag('-n, --max-new-tokens <n>', 'tokens to write at most', whole).default(48))
    .addOption(flag('--json', 'print one line of JSON a policy'))
    .action(async (words: string[], flags: Flags) => done(await compare(words, flags, command)))
}

async function compare(words: string[], flags: Flags, command: Command): Promise<number> {
  const { model: name, question } = split(words, command)
  return interruptible(async (interrupts) => {
    const prompt = await readPrompt(question, flags)
    const progress = new ProgressLine()
    const model = await openModel(name, flags, progress, interrupts.signal)
    const rows: Row[] = []
    try {
      for (const policy of flags.policies) {
        const options = { policy, maxNewTokens: flags.maxNewTokens, onPrefill: progress.onPrefill }
        const generation = model.generate(prompt, options)
        interrupts.soften(() => generation.cancel())
        const result = await generation.result
        progress.clear()
        printWarnings(result.warnings)
        if (interrupts.interrupted) break
        rows.push({ policy, result })
        if (flags.json) process.stdout.write(`${JSON.stringify({ policy, result })}\n`)
      }
    } finally {
      progress.clear()
      await model.dispose()
    }
    if (!flags.json) process.stdout.write(comparison(rows))
  })
}

/** One line a policy; the overlap counts the ten likeliest first tokens it shares with `full`. */
function comparison(rows: readonly Row[]): string {
  const full = rows.find(({ policy }) => policy.kind === 'full')?.result.firstTokenTop
  const lines = rows.map(({ policy, result }) => [
    policy.kind,
    count(result.usage.keptTokens),
    duration(result.timings.ttftMs),
    result.timings.tokensPerSecond.toFixed(1),
    bytes(result.memory.kvBytes),
    full ? `${(result.firstTokenTop ?? []).filter((id) => full.includes(id)).length}/${full.length}` : '-',
    clip(result.text),
  ])
  return table([['policy', 'kept', 'first token', 'tokens/s', 'KV cache', 'top-10 of full', 'answer'], ...lines], {
    left: true,
  })
}

function clip(text: string, width = 60): string {
  const line = harmless(text.replace(/\s+/g, ' ').trim())
  return line.length > width ? `${line.slice(0, width - 1)}…` : line
}
