import type { Command } from 'commander'
import { type ModelFlags, type PromptFlags, addModelFlags, addPromptFlags, flag, modelByDefault } from '../flags.js'
import { interruptible } from '../interrupt.js'
import { openModel } from '../open.js'
import { checkFolder, save } from '../output.js'
import { readPrompt, split } from '../question.js'
import { ProgressLine } from '../render/progress.js'
import { selectionText } from '../render/result.js'

interface Flags extends ModelFlags, PromptFlags {
  json?: boolean
  text?: boolean
  html?: string
}

export function selectCommand(program: Command, done: (code: number) => void): void {
  const command = program
    .command('select')
    .summary('show what the early layers keep, without an answer')
    .description('Selects and stops there: what is worth reading in the document for this question.')
    .usage('[options] [model] <question>')
    .argument('<question...>', `the model ${modelByDefault} and the question`)
  addModelFlags(addPromptFlags(command))
    .addOption(flag('--text', 'print the kept text alone, ready to send to another model').conflicts('json'))
    .addOption(flag('--html <file>', 'write a page with the whole text, what was kept marked'))
    .addOption(flag('--json', 'print the selection as one line of JSON'))
    .action(async (words: string[], flags: Flags) => done(await select(words, flags, command)))
}

async function select(words: string[], flags: Flags, command: Command): Promise<number> {
  const { model: name, question } = split(words, command)
  if (flags.html !== undefined) await checkFolder(flags.html)
  return interruptible(async ({ signal }) => {
    const prompt = await readPrompt(question, flags)
    const model = await openModel(name, flags, new ProgressLine(), signal)
    try {
      const selection = await model.select(prompt, { ...(flags.policy ? { policy: flags.policy } : {}), signal })
      const text = flags.text ? `${selection.toText()}\n` : selectionText(selection, process.stdout)
      if (flags.html !== undefined) await save(flags.html, selection.toHTML({ title: question }))
      process.stdout.write(flags.json ? `${JSON.stringify(selection)}\n` : text)
    } finally {
      await model.dispose()
    }
  })
}
