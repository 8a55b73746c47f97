import type { Command } from 'commander'
import { pick } from '../../options.js'
import type { GenerateOptions, Generation, GenerationResult } from '../../types.js'
import {
  type ModelFlags,
  type PromptFlags,
  addModelFlags,
  addPromptFlags,
  flag,
  modelByDefault,
  number,
  several,
  whole,
} from '../flags.js'
import { interruptible } from '../interrupt.js'
import { openModel } from '../open.js'
import { readPrompt, split } from '../question.js'
import { painter } from '../render/paint.js'
import { ProgressLine } from '../render/progress.js'
import { printWarnings, selectionText, timingsTable } from '../render/result.js'

/** Options of `generate` that flags pass on as they are. */
const generateKeys = [
  'policy',
  'maxNewTokens',
  'temperature',
  'topK',
  'topP',
  'minP',
  'repetitionPenalty',
  'seed',
  'stop',
  'overflow',
] as const

interface Flags extends ModelFlags, PromptFlags, Pick<GenerateOptions, (typeof generateKeys)[number]> {
  json?: boolean
  showSelection?: boolean
  timings?: boolean
}

export function askCommand(program: Command, done: (code: number) => void): void {
  const command = program
    .command('ask')
    .summary('answer a question, over a document or not')
    .description('Answers a question over a document; the answer goes to stdout, everything else to stderr.')
    .usage('[options] [model] <question>')
    .argument('<question...>', `the model ${modelByDefault} and the question`)
  addModelFlags(addPromptFlags(command))
    .addOption(flag('-n, --max-new-tokens <n>', 'tokens to write at most', whole))
    .addOption(flag('--temperature <t>', '0 is greedy', number))
    .addOption(flag('--top-k <n>', 'draw from the n likeliest tokens', whole))
    .addOption(flag('--top-p <p>', 'draw from the likeliest tokens that make up this probability', number))
    .addOption(flag('--min-p <p>', 'draw from tokens at least this likely, relative to the likeliest', number))
    .addOption(flag('--repetition-penalty <x>', 'above 1: avoid what was said', number))
    .addOption(flag('--seed <n>', 'of the draw', whole))
    .addOption(flag('--stop <text>', 'stop before this text; may be repeated', several))
    .addOption(
      flag('--overflow <how>', 'a prompt over the limit').choices(['error', 'truncate-start', 'truncate-middle']),
    )
    .addOption(flag('--show-selection', 'show on stderr what the early layers kept'))
    .addOption(flag('--timings', 'show on stderr where the time went'))
    .addOption(flag('--json', 'print the whole result as one line of JSON'))
    .action(async (words: string[], flags: Flags) => done(await ask(words, flags, command)))
}

async function ask(words: string[], flags: Flags, command: Command): Promise<number> {
  const { model: name, question } = split(words, command)
  return interruptible(async (interrupts) => {
    const prompt = await readPrompt(question, flags)
    const progress = new ProgressLine()
    const started = performance.now()
    const model = await openModel(name, flags, progress, interrupts.signal)
    const loadMs = performance.now() - started
    try {
      const generation = model.generate(prompt, pick(flags, generateKeys))
      interrupts.soften(() => generation.cancel())
      const result = await stream(generation, flags, progress)
      if (flags.json) process.stdout.write(`${JSON.stringify(result)}\n`)
      else printEnd(result, interrupts.interrupted)
      printWarnings(result.warnings)
      if (flags.timings) process.stderr.write(timingsTable(result, loadMs))
    } finally {
      progress.clear()
      await model.dispose()
    }
  })
}

async function stream(generation: Generation, flags: Flags, progress: ProgressLine): Promise<GenerationResult> {
  for await (const event of generation.events()) {
    if (event.type === 'prefill') progress.onPrefill(event)
    else progress.clear()
    if (event.type === 'selection' && event.selection.served && (flags.showSelection || process.stderr.isTTY))
      process.stderr.write(`${painter(process.stderr)('dim', `(auto: ${event.selection.reason})`)}\n`)
    if (event.type === 'selection' && flags.showSelection)
      process.stderr.write(`${selectionText(event.selection, process.stderr)}\n`)
    if (event.type === 'text' && !flags.json) process.stdout.write(event.text)
  }
  return generation.result
}

function printEnd({ text, finishReason, usage }: GenerationResult, interrupted: boolean): void {
  if (!text.endsWith('\n')) process.stdout.write('\n')
  const note = interrupted ? 'interrupted' : finishReason === 'length' ? `stopped after ${usage.newTokens} tokens` : ''
  if (note && process.stderr.isTTY) process.stderr.write(`${painter(process.stderr)('dim', `(${note})`)}\n`)
}
