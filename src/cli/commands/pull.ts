import type { Command } from 'commander'
import { defaultModel, findBuiltin, hubKeys, hubSettings, resolveModel, verifyBuiltin } from '../../hub/index.js'
import { pick } from '../../options.js'
import { type SourceFlags, addSourceFlags, modelByDefault, sourceOf } from '../flags.js'
import { interruptible } from '../interrupt.js'
import { ProgressLine } from '../render/progress.js'

export function pullCommand(program: Command, done: (code: number) => void): void {
  const command = program
    .command('pull')
    .summary('fetch a model into the cache')
    .description('Fetches a model into the cache, resuming what is there, checks it and prints its path.')
    .argument('[model]', `a built-in name or a hub id ${modelByDefault}`)
  addSourceFlags(command).action(async (model: string | undefined, flags: SourceFlags) =>
    done(await pull(model, flags)),
  )
}

async function pull(model: string | undefined, flags: SourceFlags): Promise<number> {
  return interruptible(async ({ signal }) => {
    const progress = new ProgressLine()
    const source = sourceOf(model, flags) ?? defaultModel.name
    const options = { ...pick(flags, hubKeys), signal, onProgress: progress.onLoad }
    const builtin = typeof source === 'string' ? findBuiltin(source) : undefined
    try {
      // Loading trusts the cache by size; whoever pulls wants to be sure.
      if (builtin) await verifyBuiltin(builtin, hubSettings(options))
      const path = await resolveModel(source, options)
      progress.clear()
      process.stdout.write(`${path}\n`)
    } finally {
      progress.clear()
    }
  })
}
