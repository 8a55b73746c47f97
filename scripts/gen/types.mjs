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
  const compact = text.replaceAll(/\/\*\*\n\s*\* (.*)\n\s*\*\//g, '/** $1 */').replaceAll('\n/**', '\n\n/**')
  return `${compact}
/** The name of a selection method. */
export type PolicyKind = Policy['kind']

/** The options of one selection method. */
export type PolicyOptions<K extends PolicyKind> = Omit<Extract<Policy, { kind: K }>, 'kind'>

/** The name of a published setting. */
export type PresetName = ${presets.join(' | ')}
`
}

/** What TypeScript needs of a schema: no limits, and an option that is left out by default is no null. */
function simpler(part) {
  if (Array.isArray(part)) return part.map(simpler)
  if (part === null || typeof part !== 'object') return part
  const result = { ...part, minItems: undefined, minimum: undefined, default: undefined }
  if (part.default === null && Array.isArray(part.type)) result.type = part.type.find((type) => type !== 'null')
  if (part.default === null && part.anyOf) Object.assign(result, part.anyOf[0], { anyOf: undefined })
  // With its own description beside it a reference would become a type of its own.
  if (result.$ref && part.description) return { description: part.description, allOf: [{ $ref: result.$ref }] }
  // What is said of a case with one field is said of the field, since cases have no place for it.
  const [[name, field] = [], ...others] = Object.entries(result.properties ?? {})
  if (name && others.length === 0 && !field.description && !('const' in field))
    result.properties = { [name]: { ...field, description: result.description } }
  const used = Object.entries(result).filter(([, value]) => value !== undefined)
  return Object.fromEntries(used.map(([key, value]) => [key, simpler(value)]))
}
