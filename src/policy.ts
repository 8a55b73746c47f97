import { invalidOption } from './errors.js'
import { policyOptions, presets } from './policy-table.js'
import type { Policy, PolicyKind, PolicyOptions, PresetName } from './policy-types.js'

const kinds = Object.keys(policyOptions)

type Factories = { readonly [K in PolicyKind]: (options?: PolicyOptions<K>) => Extract<Policy, { kind: K }> }

/** One factory a kind, and the published settings by name. */
export const policies: Factories & { preset(name: PresetName): Policy } = Object.freeze({
  ...(Object.fromEntries(
    kinds.map((kind) => [kind, (options = {}) => ({ ...options, kind })]),
  ) as unknown as Factories),
  preset(name: PresetName): Policy {
    if (!Object.hasOwn(presets, name)) throw invalidOption('preset', name, oneOf(Object.keys(presets)))
    return structuredClone(presets[name]) as Policy
  },
})

/**
 * Reads a policy from one flag: `kind`, `kind:option=value,option=value`, a preset's name, or JSON.
 * Values are numbers, `true`, `false`, `10%` (a ratio) or words; nested options are dotted (`pins.sinks=4`,
 * `score.pool.width=13`); `ratio=0.1` is short for `budget.ratio=0.1`.
 */
export function parsePolicy(flag: string): Policy {
  if (typeof flag !== 'string') throw invalidOption('policy', flag, 'a string')
  const text = flag.trim()
  if (text.startsWith('{')) return fromJson(text)
  if (Object.hasOwn(presets, text)) return policies.preset(text as PresetName)
  const colon = text.indexOf(':')
  const name = colon < 0 ? text : text.slice(0, colon)
  const kind = knownKind(name)
  const policy: Record<string, unknown> = { kind }
  const options = colon < 0 ? '' : text.slice(colon + 1)
  for (const pair of options.split(',').filter((part) => part.trim() !== '')) {
    const equals = pair.indexOf('=')
    const key = pair.slice(0, equals < 0 ? undefined : equals).trim()
    const path = (key === 'ratio' ? 'budget.ratio' : key).split('.')
    checkOption(kind, path[0]!)
    if (equals < 0) throw invalidOption(`policy.${key}`, pair, '`option=value`')
    put(policy, path, parseValue(pair.slice(equals + 1).trim()))
  }
  return policy as unknown as Policy
}

function fromJson(text: string): Policy {
  let value: { kind?: unknown }
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw invalidOption('policy', text, `valid JSON (${(error as Error).message})`)
  }
  const kind = knownKind(value.kind)
  for (const option of Object.keys(value)) if (option !== 'kind') checkOption(kind, option)
  return value as Policy
}

function knownKind(kind: unknown): string {
  if (typeof kind === 'string' && kinds.includes(kind)) return kind
  throw invalidOption('policy.kind', kind, oneOf([...kinds, ...Object.keys(presets)]))
}

function checkOption(kind: string, option: string): void {
  const known = (policyOptions as Record<string, string[]>)[kind] ?? []
  if (known.includes(option)) return
  const expected = known.length === 0 ? `left out: \`${kind}\` has no options` : oneOf(known)
  throw invalidOption(`policy.${option}`, option, expected)
}

function put(target: Record<string, unknown>, path: string[], value: unknown): void {
  const last = path.pop()!
  let at = target
  for (const key of path) {
    const below = Object.hasOwn(at, key) ? at[key] : undefined
    at = (at[key] = typeof below === 'object' && below !== null ? below : {}) as Record<string, unknown>
  }
  // Never a setter of Object.prototype.
  Object.defineProperty(at, last, { value, enumerable: true, configurable: true, writable: true })
}

function parseValue(text: string): unknown {
  if (text === 'true') return true
  if (text === 'false') return false
  const percent = /^([\d.]+)\s*%$/.exec(text)
  if (percent) return { ratio: Number(percent[1]) / 100 }
  const number = Number(text)
  return text !== '' && Number.isFinite(number) ? number : text
}

const oneOf = (names: readonly string[]) => `one of ${names.join(', ')}`
