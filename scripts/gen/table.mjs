import { cases, resolve } from './schema.mjs'

/** `src/policy-table.ts`. */
export function table(policies, whole) {
  const options = policies.map(({ kind, options }) => [kind, names(whole, options) ?? {}])
  const presets = policies.flatMap((policy) => policy.presets)
  return `// Written by \`npm run gen\` from the registry of policies in crates/policies.
import type { Policy, PolicyKind, PresetName } from './policy-types.js'

/** The names below an option: none, those of an object, or those of each element of a list. */
export type OptionNames = null | readonly [OptionNames] | { readonly [name: string]: OptionNames }

/** The options of every kind of policy. */
export const policyOptions: Readonly<Record<PolicyKind, { readonly [name: string]: OptionNames }>> =
  ${JSON.stringify(Object.fromEntries(options))}

/** Published settings, by name. */
export const presets: Readonly<Record<PresetName, Policy>> = ${JSON.stringify(Object.fromEntries(presets))}
`
}

function names(whole, part) {
  const one = resolve(whole, part)
  if (one.properties)
    return Object.fromEntries(Object.entries(one.properties).map(([name, inner]) => [name, names(whole, inner)]))
  if (one.items) return [names(whole, one.items)]
  const parts = cases(one)
  if (parts[0] === one) return null
  const found = parts.map((inner) => names(whole, inner)).filter((inner) => inner !== null)
  // Of several objects all names; which go together is for the policy to say.
  return found.find(Array.isArray) ?? (found.length > 0 ? Object.assign({}, ...found) : null)
}
