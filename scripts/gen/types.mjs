import { compile } from 'json-schema-to-typescript'

/** `src/policy-types.ts`. */
export async function types(policies, whole) {
  const presets = policies.flatMap((policy) => policy.presets.map(([name]) => `'${name}'`))
  const text = await compile(simpler(whole), 'Policy', {
    additionalProperties: false,
    bannerComment: '// Written by `npm run gen` from the registry of policies in crates/policies.',
    ignoreMinAndMaxItems: true,
    format: false,
  })
  return `${text.replaceAll(/\/\*\*\n\s*\* (.*)\n\s*\*\//g, '/** $1 */').replaceAll('\nexport interface', '\n\nexport interface')}
export type PolicyKind = Policy['kind']
export type PolicyOptions<K extends PolicyKind> = Omit<Extract<Policy, { kind: K }>, 'kind'>

/** The name of a published setting. */
export type PresetName = ${presets.join(' | ')}
`
}

/** What TypeScript needs of a schema: no limits, and an option that is left out by default is no null. */
function simpler(part) {
  if (Array.isArray(part)) return part.map(simpler)
  if (part === null || typeof part !== 'object') return part
  const { minItems, minimum, default: standard, ...rest } = part
  if (standard === null && Array.isArray(rest.type)) rest.type = rest.type.find((type) => type !== 'null')
  if (standard === null && rest.anyOf) Object.assign(rest, rest.anyOf[0], { anyOf: undefined })
  // With its own description beside it a reference would become a type of its own.
  if (rest.$ref && rest.description) return { description: rest.description, allOf: [{ $ref: rest.$ref }] }
  return Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, simpler(value)]))
}
