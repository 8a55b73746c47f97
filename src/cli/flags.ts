import { basename } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { invalidOption } from '../errors.js'
import { defaultModel, type hubKeys, isSet } from '../hub/index.js'
import type { HubSource } from '../hub/remote.js'
import { parsePolicy } from '../policy.js'
import { splitOutside } from '../split.js'
import type { Activations, Dtype, HubOptions, KvDtype, LoadOptions, Policy } from '../types.js'

type Parse<T> = (text: string, before: T | undefined) => T

/** A flag whose environment variable is its own name: `--max-new-tokens` is `SKIMLM_MAX_NEW_TOKENS`. */
export function flag<T>(names: string, description: string, parse?: Parse<T>): Option {
  const option = new Option(names, description)
  const variable = `SKIMLM_${option.name().toUpperCase().replaceAll('-', '_')}`
  // commander takes any value of a yes-or-no variable for a yes.
  if (option.isBoolean() && variable in process.env && !isSet(process.env[variable])) delete process.env[variable]
  return parse ? option.env(variable).argParser(parse) : option.env(variable)
}

export function number(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || Number.isNaN(value)) throw new InvalidArgumentError('It must be a number.')
  return value
}

export function whole(text: string): number {
  const value = number(text)
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('It must be a whole number.')
  return value
}

export function wholes(text: string): number[] {
  return text.split(',').map(whole)
}

export function several(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text]
}

function policy(text: string): Policy {
  try {
    return parsePolicy(text)
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}

/** `full,gemfilter:budget=512,layer=12`: a part `option=value` belongs to the policy before it. */
export function policyList(text: string): Policy[] {
  const whole: string[] = []
  for (const part of splitOutside(text, ',')) {
    const before = whole.length - 1
    if (before >= 0 && /^[^:{]*=/.test(part)) whole[before] += `,${part}`
    else whole.push(part)
  }
  return whole.map(policy)
}

export type HubFlags = Pick<HubOptions, (typeof hubKeys)[number]>

export interface SourceFlags extends HubFlags {
  hubFile?: string
  revision?: string
}

/** Options of `loadModel` that flags pass on as they are. */
export const loadKeys = [
  'device',
  'dtype',
  'kvDtype',
  'activations',
  'contextLength',
  'threads',
  'tokenizer',
  'profile',
  'verify',
] as const

export interface ModelFlags extends SourceFlags, Pick<LoadOptions, (typeof loadKeys)[number]> {
  chatTemplate?: string
}

export interface PromptFlags {
  file?: string
  system?: string
  policy?: Policy
}

export function addHubFlags(command: Command): Command {
  return command
    .addOption(flag('--cache-dir <folder>', 'where fetched models live'))
    .addOption(flag('--offline', 'never use the network'))
    .addOption(flag('--hub-token <token>', 'for gated models; the environment is the safer place (HF_TOKEN works too)'))
    .addOption(flag('--hub-endpoint <url>', 'a mirror of the model hub (HF_ENDPOINT works too)'))
}

export function addSourceFlags(command: Command): Command {
  return addHubFlags(command)
    .addOption(flag('--hub-file <name>', 'the file to take where a hub repository has several'))
    .addOption(flag('--revision <name>', 'the revision of a hub repository (default: main)'))
}

export function addModelFlags(command: Command): Command {
  return addSourceFlags(command)
    .addOption(flag('--device <id>', 'auto, cpu, cuda or cuda:N'))
    .addOption(dtypeFlag())
    .addOption(kvDtypeFlag())
    .addOption(activationsFlag())
    .addOption(flag('--context-length <tokens>', 'positions to use, up to the model’s own limit', whole))
    .addOption(flag('--threads <n>', 'threads of the kernels (default: the machine’s cores)', whole))
    .addOption(flag('--tokenizer <file>', 'a tokenizer.json in place of the model’s own'))
    .addOption(flag('--chat-template <file>', 'a Jinja template in place of the model’s own'))
    .addOption(flag('--profile <file>', 'what calibrate found out about the model'))
    .addOption(flag('--verify', 'refuse weights that are not finite'))
}

const dtypes: readonly Dtype[] = ['auto', 'f32', 'f16', 'bf16', 'q8_0', 'q4_k']

export function dtypeFlag(): Option {
  const what = 'the KV cache’s type, or q8_0 or q4_k to bring float weights to while they load (default: auto)'
  return flag('--dtype <type>', what).choices(dtypes)
}

const kvDtypes: readonly KvDtype[] = ['auto', 'f32', 'f16', 'bf16', 'q8_0']

export function kvDtypeFlag(): Option {
  const what = 'the KV cache’s type whatever --dtype says; q8_0 is about half of f16 (default: auto, what --dtype says)'
  return flag('--kv-dtype <type>', what).choices(kvDtypes)
}

const activations: readonly Activations[] = ['auto', 'int8']

function activationsFlag(): Option {
  const what = 'int8 reads faster and rounds more where the CPU has an instruction for it (default: auto, like f16)'
  return flag('--activations <type>', what).choices(activations)
}

export function policyFlag(): Option {
  return flag('-p, --policy <policy>', 'what to read: full, gemfilter, gemfilter:budget=1024,layer=12, ...', policy)
}

export function addPromptFlags(command: Command, has = { policy: true }): Command {
  command
    .addOption(flag('-f, --file <path>', 'the document to read; - is stdin'))
    .addOption(flag('--system <text>', 'the system message'))
  if (!has.policy) return command
  return command.addOption(policyFlag())
}

type Source = string | HubSource

/** Which model is used where none is named, for the help. */
export const modelByDefault = `(default: SKIMLM_MODEL, else ${defaultModel.name})`

/** A model as the flags describe it; undefined is the default model. */
export function sourceOf(model: string | undefined, { hubFile, revision }: SourceFlags): Source | undefined {
  const name = model ?? (process.env['SKIMLM_MODEL'] || undefined)
  if (hubFile === undefined && revision === undefined) return name
  if (name === undefined) {
    const [given, value] = hubFile === undefined ? ['--revision', revision] : ['--hub-file', hubFile]
    throw invalidOption(given!, value, 'left out, or given with a hub id')
  }
  return {
    hub: name,
    ...(hubFile === undefined ? {} : { file: hubFile }),
    ...(revision === undefined ? {} : { revision }),
  }
}

/** What to call a model. */
export function nameOf(source: Source | undefined): string {
  return basename(typeof source === 'object' ? source.hub : (source ?? defaultModel.name), '.gguf')
}
