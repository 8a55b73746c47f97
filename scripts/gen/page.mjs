import { cases, nameOf, resolve } from './schema.mjs'

/** `docs/policies.md`. */
export function page(policies, whole) {
  const shared = Object.keys(whole.$defs).filter((name) => !name.endsWith('Policy'))
  return `<!-- Written by \`npm run gen\` from the registry of policies in crates/policies. -->

# Policies

A policy decides which tokens the model reads or keeps. It is plain JSON: \`{ "kind": "gemfilter", "budget": 1024 }\`. The
same options are written \`--policy gemfilter:budget=1024\` on the command line and \`policies.gemfilter({ budget: 1024 })\`
in TypeScript. [A JSON Schema](policies.schema.json) describes them for editors and validators.

On the command line, nested options are dotted, elements of lists are numbered, a share is a percentage, and any value may
be JSON: \`gemfilter:budget=10%,pins.sinks=8,score.pool=null\`, \`promptdistill:stages.0.layer=13,stages.0.budget=1024\`. A
preset's name stands for its options, and further ones change it: \`snapkv-paper:budget=512\`.

| Policy | Idea |
| --- | --- |
${policies.map(({ kind, about }) => `| [\`${kind}\`](#${kind}) | ${cell(about.idea)} |`).join('\n')}

${policies.map((policy) => section(whole, policy)).join('\n\n')}

# Shared options

${shared.map((name) => `## ${name}\n\n${definition(whole, whole.$defs[name])}`).join('\n\n')}
`
}

function section(whole, { kind, about, options, presets, replays }) {
  return `## ${kind}

${about.idea}

- **Paper:** ${about.paper}
- **Good:** ${about.good}
- **Bad:** ${about.bad}
- **Cost:** ${about.cost}
${replays ? '- **Replays:** `forceIndices` puts a selection made before in place of the choice.\n' : ''}
${options.properties ? listing(whole, options) : 'It has no options.'}

${presets.map(([name, policy]) => `Preset \`${name}\`:\n\n\`\`\`json\n${JSON.stringify(policy)}\n\`\`\``).join('\n\n')}`
}

function definition(whole, part) {
  if (part.properties) return `${part.description}\n\n${listing(whole, part)}`
  const each = (one) => `- ${type(one)}: ${one.description}`
  return `${part.description}\n\n${cases(part).map(each).join('\n')}`
}

function listing(whole, { properties, required = [] }) {
  const row = ([name, part]) => {
    const standard = required.includes(name) ? 'required' : fallback(whole, part)
    return `| \`${name}\` | ${cell(type(part))} | ${cell(standard)} | ${cell(part.description)} |`
  }
  return `| Option | Type | Default | Meaning |\n| --- | --- | --- | --- |\n${Object.entries(properties).map(row).join('\n')}`
}

/** The default, unless it is the default of everything in it. */
function fallback(whole, part) {
  if (part.default === undefined || part.default === null) return 'none'
  const inner = resolve(whole, part).properties
  const all = inner && Object.entries(inner).every(([name, { default: own }]) => same(own, part.default[name]))
  return all ? 'its defaults' : code(part.default)
}

function type(part) {
  const name = nameOf(part)
  if (name) return `[${name}](#${name.toLowerCase()})`
  if (part.const !== undefined) return code(part.const)
  if (part.items) return `list of ${type(part.items)}`
  if (part.properties) {
    const inner = Object.entries(part.properties).map(([key, value]) => `"${key}": ${bare(value) ?? nameOf(value)}`)
    return `\`{ ${inner.join(', ')} }\``
  }
  const parts = cases(part)
  if (parts[0] !== part) return orNull(part, parts.map((one) => type(one)).join(' or '))
  return orNull(part, bare(part) + limits(part))
}

/** Null is worth a word where it is not the default. */
function orNull(part, text) {
  const nullable = part.type?.includes?.('null') || part.anyOf?.some((one) => one.type === 'null')
  return nullable && part.default !== null && part.default !== undefined ? `${text} or \`null\`` : text
}

function bare({ type }) {
  const one = Array.isArray(type) ? type.find((name) => name !== 'null') : type
  return { integer: 'whole number', number: 'number', boolean: 'true or false', string: 'text' }[one]
}

function limits({ minimum, exclusiveMinimum, maximum, not }) {
  const odd = not?.multipleOf === 2 ? ', odd' : ''
  if (maximum !== undefined) return `${odd}, ${minimum ?? `above ${exclusiveMinimum}`} to ${maximum}`
  return minimum ? `${odd}, at least ${minimum}` : odd
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b)
const code = (value) => `\`${JSON.stringify(value)}\``
/** A line break, which Rust's comments have, would end the row. */
const cell = (text) => text.replaceAll(/\s*\n\s*/g, ' ').replaceAll('|', String.raw`\|`)
