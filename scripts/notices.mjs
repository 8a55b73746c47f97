// Writes THIRD-PARTY.md: what the published packages contain of others, with licences. From `cargo metadata` (what is linked
// into the addon on the platforms of package.json, build tools and macros left out) and the npm dependencies that are
// installed along. Fails where a licence is not on the list of deny.toml. `--check` fails where the file would change.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
/** The licences that `cargo deny` allows; of a choice (`OR`), one must be among them. */
const [, list] = /^allow = \[([^\]]*)\]/m.exec(readFileSync(join(root, 'deny.toml'), 'utf8'))
const allowed = new Set(Array.from(list.matchAll(/"([^"]+)"/g), ([, license]) => license))
const manifest = json('package.json')
const addon = 'skimlm-node'
const packages = [...crates(), ...modules()].sort((a, b) => order(a.name, b.name) || order(a.version, b.version))

const refused = packages.filter(({ license }) => !permits(license))
for (const { name, version, license } of refused)
  console.error(`${name} ${version}: licence ${license} is not on the list of deny.toml.`)
if (refused.length > 0) process.exit(1)

const path = join(root, 'THIRD-PARTY.md')
const text = render()
const before = existsSync(path) ? readFileSync(path, 'utf8') : ''
if (text !== before && process.argv.includes('--check')) {
  console.error('THIRD-PARTY.md is out of date: run `npm run gen:notices`.')
  process.exit(1)
}
if (text !== before) {
  writeFileSync(path, text)
  console.log(`THIRD-PARTY.md has been written: ${packages.length} packages.`)
}

/** The crates linked into the addon: normal dependencies, macros left out. */
function crates() {
  const linked = new Map()
  for (const platform of manifest.napi.targets) {
    const args = ['metadata', '--locked', '--format-version', '1', '--filter-platform', platform]
    const { packages: all, resolve } = JSON.parse(
      execFileSync('cargo', args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 2] }),
    )
    const byId = new Map(all.map((entry) => [entry.id, entry]))
    const nodes = new Map(resolve.nodes.map((node) => [node.id, node]))
    const seen = new Set()
    const visit = (id) => {
      const entry = byId.get(id)
      if (seen.has(id) || entry.targets.some(({ kind }) => kind.includes('proc-macro'))) return
      seen.add(id)
      if (entry.source !== null) linked.set(id, entry)
      for (const { pkg, dep_kinds } of nodes.get(id).deps) if (dep_kinds.some(({ kind }) => kind === null)) visit(pkg)
    }
    visit(all.find(({ name }) => name === addon).id)
  }
  return [...linked.values()].map(({ name, version, license: stated, repository, manifest_path }) => {
    // Cargo's older way to write a choice.
    const license = stated?.replaceAll('/', ' OR ') ?? 'none stated'
    const texts = papers(dirname(manifest_path))
    return { name, version, license, source: repository, papers: chosen(license, texts) }
  })
}

/** What npm installs beside the package. */
function modules() {
  const { packages: locked } = json('package-lock.json')
  return Object.entries(locked).flatMap(([at, entry]) => {
    if (at === '' || entry.dev || entry.devOptional) return []
    const { name, version, license, repository } = json(at, 'package.json')
    return [{ name, version, license, source: repository?.url, papers: papers(join(root, at)) }]
  })
}

/** Texts of licences and notices in a package, and in the C sources it may carry. */
function papers(folder) {
  return readdirSync(folder, { recursive: true })
    .filter((name) => /(^|\/)(licen[cs]e|copying|notice|unlicense)[^/]*$/i.test(name))
    .filter((name) => !/\.(rs|c|h|toml|json|html|svg)$/.test(name) && !/(^|\/)(tests?|node_modules)\//.test(name))
    .sort()
    .flatMap((name) => {
      try {
        return [readFileSync(join(folder, name), 'utf8')]
      } catch {
        return [] // a folder of licences; its files come by themselves
      }
    })
}

/** Who may choose MIT or Boost's licence and has that text needs no Apache-2.0, which is long, and no Unlicense. */
function chosen(license, texts) {
  if (!/\bOR\b/.test(license) || !/\b(MIT|BSL-1\.0)\b/.test(license)) return texts
  if (!texts.some((text) => text.includes('Permission is hereby granted, free of charge'))) return texts
  const others = /Apache License\s+Version 2\.0.*TERMS AND CONDITIONS|This is free and unencumbered software/is
  return texts.filter((text) => !others.test(text))
}

/** Whether an SPDX expression allows what we do: all parts of an AND, one part of an OR. */
function permits(license) {
  const parts = (expression, word) => split(expression, ` ${word} `)
  const bare = license.replace(/^\((.*)\)$/s, (whole, inner) => (balanced(inner) ? inner : whole))
  const all = parts(bare, 'AND')
  if (all.length > 1) return all.every(permits)
  const any = parts(bare, 'OR')
  return any.length > 1 ? any.some(permits) : allowed.has(bare.trim())
}

/** Cuts where the word stands outside of parentheses. */
function split(expression, word) {
  const found = []
  let from = 0
  for (let at = expression.indexOf(word); at >= 0; at = expression.indexOf(word, at + 1)) {
    if (!balanced(expression.slice(from, at))) continue
    found.push(expression.slice(from, at))
    from = at + word.length
  }
  return [...found, expression.slice(from)]
}

function balanced(text) {
  let depth = 0
  for (const char of text) {
    if (char === '(') depth++
    if (char === ')' && --depth < 0) return false
  }
  return depth === 0
}

function render() {
  const texts = new Map()
  for (const entry of packages)
    for (const paper of entry.papers) {
      const body = tidy(paper)
      const key = createHash('sha256').update(body.replace(/\s+/g, ' ').toLowerCase()).digest('hex')
      const known = texts.get(key) ?? { body, users: new Set() }
      texts.set(key, { ...known, users: known.users.add(`${entry.name} ${entry.version}`) })
    }
  const without = packages.filter((entry) => entry.papers.length === 0)
  const lines = [
    '# Third-party software',
    '',
    'What the packages of skimlm contain of others, or install along. Written by `npm run gen:notices`; do not edit.',
    'Where a choice of licences is offered and MIT is among them, its text stands here. The texts of the others come in full.',
    'The addon also contains parts of the Rust standard library (MIT OR Apache-2.0, The Rust Project Developers).',
    '',
    '| Package | Version | Licence |',
    '| --- | --- | --- |',
    ...packages.map(({ name, version, license, source }) => `| ${link(name, source)} | ${version} | ${license} |`),
    '',
    ...(without.length === 0
      ? []
      : [
          'These carry no licence file of their own and are under the licence stated above: ' +
            `${without.map(({ name, version }) => `${name} ${version}`).join(', ')}.`,
          '',
        ]),
    '## Licence texts',
    '',
    ...[...texts.values()]
      .sort((a, b) => b.users.size - a.users.size || order([...a.users][0], [...b.users][0]))
      .flatMap(({ body, users }) => [`### ${[...users].join(', ')}`, '', '```text', body, '```', '']),
  ]
  return `${lines.join('\n').trimEnd()}\n`
}

function tidy(paper) {
  const lines = paper.replaceAll('\r\n', '\n').replaceAll('```', "'''").split('\n')
  return lines
    .map((line) => line.trimEnd())
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .replace(/^\n+|\n+$/g, '')
}

function link(name, source) {
  const url = source?.replace(/^git\+/, '').replace(/\.git$/, '')
  return url?.startsWith('https://') ? `[${name}](${url})` : name
}

function order(a, b) {
  return a < b ? -1 : a > b ? 1 : 0
}

function json(...at) {
  return JSON.parse(readFileSync(join(root, ...at), 'utf8'))
}
