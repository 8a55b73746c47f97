// Packs the package, installs it into an empty folder as a stranger would, and uses it there: `import`, `require`, types for
// both kinds of module, the command line, an answer of a tiny random model. Both forms are tried: the package with its
// platform's package beside it, and the one tarball of `npm pack`. No compiler is in reach, nor anything of the repository.
import { spawnSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'skimlm-package-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

const answer = `
  const model = await loadModel(process.argv[process.argv.length - 1])
  const { text, usage } = await model.generate('the of in', { maxNewTokens: 4 }).result
  console.log(JSON.stringify([text, usage.newTokens, ...kernels.selectTopK(Float32Array.of(1, 3, 2), 2)]))
  await model.dispose()
`
const consumer = `
import { loadModel, policies, SkimError, type GenerationResult, type Selection } from 'skimlm'
export async function ask(document: string, question: string): Promise<GenerationResult> {
  await using model = await loadModel('model.gguf', { threads: 2 })
  const answer = model.generate({ document, question }, { policy: policies.gemfilter({ budget: { ratio: 0.1 } }) })
  for await (const { text } of answer) text.trim()
  const selection: Selection | null = await answer.selection
  if (selection === null) throw new SkimError('ERR_INTERNAL', 'none')
  // @ts-expect-error no such option
  model.generate('a', { maxTokens: 5 })
  return answer.result
}
`
// Declarations are checked too, and no types of Node are installed.
const compilerOptions = {
  module: 'nodenext',
  target: 'es2023',
  lib: ['es2023', 'esnext.disposable', 'dom'],
  types: [],
  strict: true,
  skipLibCheck: false,
}

const model = join(folder, 'tiny.gguf')
run('cargo', ['run', '--quiet', '--locked', '--example', 'tiny', '--', model], { cwd: root, env: process.env })

run('npm', ['run', '--silent', 'package'], { cwd: root, env: process.env })
run('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: root, env: process.env })
const tarballs = (at) => readdirSync(at).flatMap((name) => (name.endsWith('.tgz') ? [join(at, name)] : []))

// Node, npm and a shell: all that a machine without build tools has.
const tools = join(folder, 'tools')
mkdirSync(tools)
for (const tool of ['node', 'npm', 'npx', 'sh']) symlinkSync(which(tool), join(tools, tool))
const network = ['npm_config_registry', 'HTTPS_PROXY', 'https_proxy', 'NODE_EXTRA_CA_CERTS']
const inherited = ['HOME', ...network].flatMap((name) => (name in process.env ? [[name, process.env[name]]] : []))
const env = { ...Object.fromEntries(inherited), PATH: tools, SKIMLM_CACHE_DIR: folder, SKIMLM_OFFLINE: '1' }

try {
  check('two packages', tarballs(join(root, 'target/package')))
  check('one tarball', tarballs(folder))
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}

function check(form, packed) {
  const started = performance.now()
  const cwd = join(folder, form.replace(' ', '-'))
  mkdirSync(cwd)
  const at = (name, content) => writeFileSync(join(cwd, name), content)
  at('package.json', '{ "private": true }')
  const size = packed.reduce((sum, path) => sum + statSync(path).size, 0)
  run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error', ...packed], { cwd, env })

  at('imported.mjs', `import { kernels, loadModel } from 'skimlm'\n${answer}`)
  at('required.cjs', `const { kernels, loadModel } = require('skimlm')\n;(async () => {\n${answer}})()\n`)
  const answers = ['imported.mjs', 'required.cjs'].map((name) => run('node', [name, model], { cwd, env, quiet: true }))
  if (answers[0] !== answers[1]) throw new Error(`import answered ${answers[0]}, require ${answers[1]}`)

  at('consumer.mts', consumer)
  at('consumer.cts', consumer)
  at('tsconfig.json', JSON.stringify({ compilerOptions, files: ['consumer.mts', 'consumer.cts'] }))
  run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', cwd], { cwd, env })
  if (readFileSync(join(cwd, 'consumer.cjs'), 'utf8').includes('import '))
    throw new Error('consumer.cts was no CommonJS')

  const { checks } = JSON.parse(run('npx', ['--no-install', 'skimlm', 'doctor', '--json'], { cwd, env }))
  const binding = checks.find(({ name }) => name === 'native binding')
  if (binding?.state !== 'ok') throw new Error(`doctor says of the native binding: ${binding?.found}`)
  const said = run('npx', ['--no-install', 'skimlm', 'ask', model, 'the of in', '-n', '4'], { cwd, env, quiet: true })
  if (said.trim() === '') throw new Error('`skimlm ask` answered nothing')

  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(
    `${form} (${packed.length === 1 ? '' : 'together '}${(size / 1e6).toFixed(1)} MB): installed, imported, required, compiled as ` +
      `ES module and CommonJS, doctor (${checks.length} checks) and ask run; ${seconds} s`,
  )
}

/** Runs a program and answers what it printed; with `quiet`, a word on stderr is a failure. */
function run(command, args, { quiet = false, ...options }) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', ...options })
  if (error || status !== 0 || (quiet && stderr !== ''))
    throw new Error(`\`${[command, ...args].join(' ')}\` ended with ${error ?? `code ${status}`}\n${stdout}${stderr}`)
  return stdout
}

function which(tool) {
  const found = process.env.PATH.split(delimiter).flatMap((at) => {
    try {
      return [realpathSync(join(at, tool))]
    } catch {
      return []
    }
  })
  return found[0] ?? join(dirname(process.execPath), tool)
}
