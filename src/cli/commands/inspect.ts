import { stat } from 'node:fs/promises'
import type { Command } from 'commander'
import { resolveModel } from '../../hub/index.js'
import { inspectModel } from '../../load.js'
import type { ModelInfo } from '../../types.js'
import { type SourceFlags, addSourceFlags, flag, hubKeys, pick, sourceOf } from '../flags.js'
import { interruptible } from '../interrupt.js'
import { ProgressLine } from '../render/progress.js'
import { table } from '../render/table.js'
import { bytes, count } from '../render/units.js'

interface Flags extends SourceFlags {
  json?: boolean
}

export function inspectCommand(program: Command, done: (code: number) => void): void {
  const command = program
    .command('inspect')
    .summary('print what a model’s header says')
    .description('Prints what a model’s header says; weights are not read.')
    .argument('[model]', 'a path, a hub id or a built-in name (default: SKIMLM_MODEL, else smollm2-135m)')
  addSourceFlags(command)
    .addOption(flag('--json', 'print one line of JSON'))
    .action(async (model: string | undefined, flags: Flags) => done(await inspect(model, flags)))
}

async function inspect(model: string | undefined, flags: Flags): Promise<number> {
  return interruptible(async ({ signal }) => {
    const progress = new ProgressLine()
    const path = await resolveModel(sourceOf(model, flags), {
      ...pick(flags, hubKeys),
      signal,
      onProgress: progress.onLoad,
    })
    progress.clear()
    const info = await inspectModel({ path })
    // A folder of safetensors files has no one size.
    const found = await stat(path)
    const size = found.isFile() ? found.size : null
    process.stdout.write(
      flags.json ? `${JSON.stringify({ path, bytes: size, ...info })}\n` : describe(path, size, info),
    )
  })
}

function describe(path: string, size: number | null, info: ModelInfo): string {
  // Two numbers (key and value) a layer, kv head and dimension; 2 bytes each, the cache is f16 by default.
  const kvBytes = 2 * info.layers * info.kvHeads * info.headDim * 2
  return table(
    [
      ['file', path],
      ...(size === null ? [] : [['size', bytes(size)]]),
      ['architecture', info.architecture],
      ['parameters', count(info.parameters)],
      ['quantization', info.quantization ?? 'none'],
      ['layers', String(info.layers)],
      ['hidden size', String(info.hiddenSize)],
      ['heads', `${info.heads} (${info.kvHeads} for keys and values), ${info.headDim} wide`],
      ['vocabulary', count(info.vocabSize)],
      ['context', `${count(info.maxPositions)} tokens`],
      ['KV cache', `${bytes(kvBytes)} a token, ${bytes(kvBytes * info.maxPositions)} for the whole context`],
      ['chat template', info.chatTemplate === null ? 'none' : `${count(info.chatTemplate.length)} characters`],
      ['policies', info.supportedPolicies.join(', ')],
      ['filter layer', `${info.defaultFilterLayer} (default)`],
    ],
    { left: true },
  )
}
