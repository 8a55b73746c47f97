/** One JSON Schema of every policy. The options' shared parts become its definitions. */
export function schema(policies) {
  const shared = {}
  for (const { kind, options } of policies)
    for (const [name, definition] of Object.entries(options.$defs ?? {})) {
      const text = JSON.stringify(definition)
      if (JSON.stringify((shared[name] ??= definition)) !== text) throw new Error(`${kind}: two meanings of ${name}`)
    }
  const own = policies.map(({ kind, about, options }) => [
    `${options.title}Policy`,
    {
      description: about.idea,
      type: 'object',
      properties: { kind: { const: kind }, ...options.properties },
      required: ['kind', ...(options.required ?? [])],
      additionalProperties: false,
    },
  ])
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Policy',
    description: 'A selection method and its options.',
    oneOf: own.map(([name]) => reference(name)),
    $defs: joined({ ...Object.fromEntries(own), ...byName(shared) }),
  }
}

/** What a schema's `$ref` stands for, and everything else as it is. */
export function resolve(whole, part) {
  const name = nameOf(part)
  return name ? whole.$defs[name] : part
}

/** The definition a schema names, if it names one. */
export const nameOf = (part) => /^#\/\$defs\/(\w+)$/.exec(part.$ref ?? '')?.[1]

/** The cases of a schema that may be several things; null is not one. */
export const cases = (part) => (part.oneOf ?? part.anyOf ?? [part]).filter((one) => one.type !== 'null')

const reference = (name) => ({ $ref: `#/$defs/${name}` })

const byName = (object) => Object.fromEntries(Object.entries(object).toSorted(([a], [b]) => (a < b ? -1 : 1)))

/** Rust breaks the lines of its comments; their readers do it themselves. */
const joined = (value) =>
  JSON.parse(
    JSON.stringify(value, (key, inner) =>
      key === 'description' && typeof inner === 'string' ? inner.replaceAll(/\s*\n\s*/g, ' ') : inner,
    ),
  )
