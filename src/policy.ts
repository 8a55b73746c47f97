import { invalidOption } from './errors.js'
import { type OptionNames, policyOptions, presets } from './policy-table.js'
import type { Policy, PolicyKind, PolicyOptions, PresetName } from './policy-types.js'
import { oneOf } from './similar.js'
import { splitOutside } from './split.js'

const kinds = Object.keys(policyOptions)

type Factories = { readonly [K in PolicyKind]: (options?: PolicyOptions<K>) => Extract<Policy, { kind: K }> }

/** One factory a kind, and the published settings by name. Values are checked where they are used; a preset that is not there is `ERR_INVALID_ARG`. */
export const policies: Factories & { preset(name: PresetName): Policy } = Object.freeze({
  ...(Object.fromEntries(
    kinds.map((kind) => [kind, (options = {}) => ({ ...options, kind })]),
  ) as unknown as Factories),
  preset(name: PresetName): Policy {
    if (!isPreset(name)) throw invalidOption('preset', name, oneOf(Object.keys(presets), name))
    return structuredClone(presets[name])
  },
})

/**
 * Reads a policy from one flag: a kind or a preset's name, alone or as `name:option=value,option=value`; or JSON.
 *
 * Nested options are dotted and elements of lists numbered (`score.pool.width=13`, `stages.0.layer=9`). Values are
 * JSON, a percentage (`10%`, a share: `{ "ratio": 0.1 }` where that is an option's form, else 0.1) or a word;
 * `ratio=0.1` is short for `budget.ratio=0.1`. An unknown kind or option is `ERR_INVALID_ARG` with the known ones.
 */
export function parsePolicy(flag: string): Policy {
  if (typeof flag !== 'string') throw invalidOption('policy', flag, 'a string')
  const text = flag.trim()
  if (text.startsWith('{')) return fromJson(text)
  const colon = text.indexOf(':')
  const name = (colon < 0 ? text : text.slice(0, colon)).trim()
  const policy = isPreset(name) ? policies.preset(name) : ({ kind: knownKind(name) } as Policy)
  const pairs = colon < 0 ? [] : splitOutside(text.slice(colon + 1), ',')
  for (const pair of pairs.filter((part) => part.trim() !== '')) {
    const equals = pair.indexOf('=')
    const key = pair.slice(0, equals < 0 ? undefined : equals).trim()
    const path = (key === 'ratio' ? 'budget.ratio' : key).split('.')
    const below = checkPath(policy.kind, path)
    if (equals < 0) throw invalidOption(`policy.${key}`, pair, '`option=value`')
    put(policy, path, parseValue(pair.slice(equals + 1).trim(), below))
  }
  return policy
}

function fromJson(text: string): Policy {
  let value: { kind?: unknown }
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw invalidOption('policy', text, `valid JSON (${(error as Error).message})`)
  }
  const kind = knownKind(value.kind, kinds)
  for (const option of Object.keys(value)) if (option !== 'kind') checkPath(kind, [option])
  return value as Policy
}

const isPreset = (name: string): name is PresetName => Object.hasOwn(presets, name)

/** `names` are those that could stand in its place. */
function knownKind(kind: unknown, names = [...kinds, ...Object.keys(presets)]): PolicyKind {
  if (typeof kind === 'string' && kinds.includes(kind)) return kind as PolicyKind
  throw invalidOption('policy.kind', kind, oneOf(names, kind))
}

/**
 * Refuses an option that its kind does not have, at any depth; returns the names below it. Values are checked where
 * they are used, in Rust.
 */
function checkPath(kind: PolicyKind, path: readonly string[]): OptionNames {
  let names: OptionNames = policyOptions[kind]
  for (const [depth, key] of path.entries()) {
    const option = `policy.${pathName(path.slice(0, depth + 1))}`
    const owner = depth === 0 ? kind : pathName(path.slice(0, depth))
    if (isList(names)) {
      if (!/^\d{1,2}$/.test(key)) throw invalidOption(option, key, `the number of an element of \`${owner}\`, from 0`)
      names = names[0]
    } else {
      const inner: Exclude<OptionNames, readonly [OptionNames]> = names
      const known: string[] = Object.keys(inner ?? {})
      if (known.length === 0) throw invalidOption(option, key, `left out: \`${owner}\` has no options`)
      if (!known.includes(key)) throw invalidOption(option, key, oneOf(known, key))
      names = inner?.[key] ?? null
    }
  }
  return names
}

/** As errors of either side call it: `stages[0].layer`. */
const pathName = (path: readonly string[]) => path.join('.').replace(/\.(\d{1,2})(?=\.|$)/g, '[$1]')

const isList = (names: OptionNames): names is readonly [OptionNames] => Array.isArray(names)

function put(target: object, path: readonly string[], value: unknown): void {
  let at = target as Record<string, unknown>
  for (const [i, key] of path.slice(0, -1).entries()) {
    const below = at[key]
    const list = /^\d+$/.test(path[i + 1]!)
    const fits = typeof below === 'object' && below !== null && Array.isArray(below) === list
    at = (at[key] = fits ? below : list ? [] : {}) as Record<string, unknown>
  }
  at[path.at(-1)!] = value
}

/** `names` are those below the option. */
function parseValue(text: string, names: OptionNames): unknown {
  const percent = /^(\d+(?:\.\d+)?|\.\d+)\s*%$/.exec(text)
  if (percent) {
    const ratio = Number(percent[1]) / 100
    return names !== null && 'ratio' in names ? { ratio } : ratio
  }
  try {
    return JSON.parse(text)
  } catch {
    const number = Number(text)
    return text !== '' && Number.isFinite(number) ? number : text
  }
}
