import { stat } from 'node:fs/promises'
import type { Command } from 'commander'
import { hubKeys, resolveModel } from '../../hub/index.js'
import { estimateAll, estimateMemory, inspectModel } from '../../inspect.js'
import { pick } from '../../options.js'
import type { Dtype, KvDtype, MemoryEstimate, MemoryNeed, ModelInfo, Policy, RopeInfo } from '../../types.js'
import {
  type SourceFlags,
  addSourceFlags,
  dtypeFlag,
  flag,
  kvDtypeFlag,
  modelByDefault,
  policyFlag,
  sourceOf,
  wholes,
} from '../flags.js'
import { interruptible } from '../interrupt.js'
import { ProgressLine } from '../render/progress.js'
import { table } from '../render/table.js'
import { bytes, count } from '../render/units.js'

interface Flags extends SourceFlags {
  tokens?: number[]
  policy?: Policy
  dtype?: Dtype
  kvDtype?: KvDtype
  json?: boolean
}

type Row = MemoryNeed & MemoryEstimate & { policy: Policy }

export function inspectCommand(program: Command, done: (code: number) => void): void {
  const command = program
    .command('inspect')
    .summary('print what a model’s header says, and what prompts take in memory')
    .description('Prints what a model’s header says and what prompts take in memory; weights are not read.')
    .argument('[model]', `a path, a hub id or a built-in name ${modelByDefault}`)
  addSourceFlags(command)
    .addOption(flag('--tokens <n,...>', 'prompt lengths of the memory table', wholes))
    .addOption(policyFlag())
    .addOption(dtypeFlag())
    .addOption(kvDtypeFlag())
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
    const memory = await estimates(path, info, flags)
    process.stdout.write(
      flags.json
        ? `${JSON.stringify({ path, bytes: size, ...info, memory })}\n`
        : `${describe(path, size, info, await wholeCache(path, info, flags))}\n${memoryTable(memory)}`,
    )
  })
}

/** Every policy with its defaults, or the one that was asked for, at every length. */
async function estimates(path: string, info: ModelInfo, flags: Flags): Promise<Row[]> {
  const policies = flags.policy ? [flags.policy] : info.supportedPolicies.map((kind) => ({ kind }) as Policy)
  const lengths = flags.tokens ?? usualLengths(info.maxPositions)
  const types = pick(flags, ['dtype', 'kvDtype'])
  const needs = policies.flatMap((policy) => lengths.map((promptTokens) => ({ policy, promptTokens, ...types })))
  return (await estimateAll({ path }, needs)).map((estimate, i) => ({ ...needs[i]!, ...estimate }))
}

function usualLengths(most: number): number[] {
  return [...[2048, 8192, 32_768, 131_072].filter((length) => length < most), most].slice(0, 4)
}

/** Keys and values of every position, in bytes. */
async function wholeCache(path: string, { maxPositions }: ModelInfo, flags: Flags): Promise<number> {
  const policy: Policy = { kind: 'full' }
  const need = {
    policy,
    promptTokens: Math.max(maxPositions - 1, 1),
    maxNewTokens: 1,
    ...pick(flags, ['dtype', 'kvDtype']),
  }
  return (await estimateMemory({ path }, need)).kvCache
}

function describe(path: string, size: number | null, info: ModelInfo, kvCache: number): string {
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
      ...info.rope.map((rope, i) => [
        'rope',
        describeRope(rope, info.layout.filter((layer) => layer.rope === i).length),
      ]),
      ['window', describeWindow(info)],
      ['KV cache', `${bytes(kvCache)} for the whole context`],
      ['chat template', info.chatTemplate === null ? 'none' : `${count(info.chatTemplate.length)} characters`],
      ['policies', info.supportedPolicies.join(', ')],
      ['filter layer', `${info.defaultFilterLayer} (default)`],
      ...info.unsupported.map((why) => ['unsupported', why]),
    ],
    { left: true },
  )
}

function describeRope({ kind, base, factor, originalPositions, dims }: RopeInfo, layers: number): string {
  const stretched = [
    factor === null ? '' : `, factor ${count(factor)}`,
    originalPositions === null ? '' : `, from ${count(originalPositions)} positions`,
  ].join('')
  return `${kind}, base ${count(base)}${stretched}, ${dims} numbers of a head, in ${layers} layers`
}

function describeWindow({ window, layout }: ModelInfo): string {
  if (window === null) return 'none'
  const sliding = layout.filter((layer) => layer.window !== null).length
  return `${count(window)} tokens in ${sliding} of ${layout.length} layers`
}

function memoryTable(rows: Row[]): string {
  const lengths = [...new Set(rows.map((row) => row.promptTokens))]
  const names = [...new Set(rows.map((row) => row.policy.kind))]
  const cell = ({ total, fits }: Row) => `${bytes(total)}${fits ? '' : '!'}`
  const free = rows[0]?.freeOnDevice ?? 0
  const note = rows.some((row) => !row.fits) ? `! more than the ${bytes(free)} that are free\n` : ''
  return (
    table([
      ['memory by prompt', ...lengths.map(count)],
      ...names.map((kind) => [kind, ...rows.filter((row) => row.policy.kind === kind).map(cell)]),
    ]) + note
  )
}
