import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { access, mkdtemp, readFile, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { SkimError } from '../src/errors.js'
import { defaultModel } from '../src/hub/builtin.js'
import { diskFailure } from '../src/hub/disk.js'
import { download, type Download } from '../src/hub/download.js'
import { withLock } from '../src/hub/lock.js'
import { verifyBuiltin, resolveBuiltin, resolveModel } from '../src/hub/resolve.js'
import { cacheDirectory, hubSettings } from '../src/hub/settings.js'
import { inspectModel } from '../src/inspect.js'
import type { LoadProgress } from '../src/types.js'
import { type Answer, serve, startHub } from './hub-server.js'

const body = randomBytes(300_000)
const sha256 = createHash('sha256').update(body).digest('hex')
const quick = { connectMs: 2_000, stallMs: 2_000, backoffMs: 1 }

async function setUp(t: ExecutionContext, answer: Answer) {
  const hub = await startHub(answer)
  const folder = await mkdtemp(join(tmpdir(), 'skimlm-hub-'))
  t.teardown(async () => {
    await hub.close()
    await rm(folder, { recursive: true, force: true })
  })
  const partial = join(folder, 'model.gguf.partial')
  const fetchIt = (options: Partial<Download> = {}) =>
    download({ url: `${hub.endpoint}/model.gguf`, partial, bytes: body.length, timing: quick, ...options })
  return { ...hub, folder, partial, fetchIt }
}

const fails = (t: ExecutionContext, work: Promise<unknown>) =>
  t.throwsAsync(work, { instanceOf: SkimError, code: 'ERR_HUB' }) as Promise<SkimError>
const skip = (t: ExecutionContext, why: string) => {
  t.log(why)
  t.pass()
}
const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  )

test('a dropped connection is resumed with Range and If-Range, and the bytes are right', async (t) => {
  const hub = await setUp(t, (request, response) =>
    serve(body, request, response, { etag: '"one"', drop: { bytes: 100_000, seenIn: hub.partial } }),
  )
  const seen: number[] = []
  await hub.fetchIt({ onProgress: (loaded) => seen.push(loaded) })
  t.deepEqual(
    hub.hits.map((hit) => hit.range),
    [undefined, 'bytes=100000-', 'bytes=200000-'],
  )
  t.deepEqual(
    hub.hits.map((hit) => hit.ifRange),
    [undefined, '"one"', '"one"'],
  )
  t.true(body.equals(await readFile(hub.partial)))
  t.is(seen.at(-1), body.length)
  t.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  )
  t.false(await exists(`${hub.partial}.etag`))
})

test('a partial file of an earlier run is continued', async (t) => {
  const hub = await setUp(t, (request, response) => serve(body, request, response))
  await writeFile(hub.partial, body.subarray(0, 123_456))
  await hub.fetchIt()
  t.deepEqual(
    hub.hits.map((hit) => hit.range),
    ['bytes=123456-'],
  )
  t.true(body.equals(await readFile(hub.partial)))
})

test('a server without ranges sends the file again from the start', async (t) => {
  const hub = await setUp(t, (request, response) => serve(body, request, response, { whole: true }))
  await writeFile(hub.partial, randomBytes(1_000))
  await hub.fetchIt()
  t.true(body.equals(await readFile(hub.partial)))
})

test('a file that changed under a partial download starts over', async (t) => {
  const hub = await setUp(t, (request, response, hit) => {
    // A careless server: it ignores If-Range and sends the rest of another file.
    delete request.headers['if-range']
    serve(body, request, response, {
      etag: hit.range ? '"new"' : '"old"',
      ...(hub.hits.length === 1 ? { drop: { bytes: 50_000, seenIn: hub.partial } } : {}),
    })
  })
  await hub.fetchIt()
  t.deepEqual(
    hub.hits.map((hit) => hit.range),
    [undefined, 'bytes=50000-', undefined],
  )
  t.true(body.equals(await readFile(hub.partial)))
})

test('416: complete when the sizes agree, else from the start', async (t) => {
  const hub = await setUp(t, (request, response) => serve(body, request, response))
  await writeFile(hub.partial, body)
  await hub.fetchIt()
  t.is(hub.hits.length, 1)
  t.true(body.equals(await readFile(hub.partial)))

  await writeFile(hub.partial, randomBytes(body.length + 7))
  await hub.fetchIt({ bytes: undefined })
  t.deepEqual(
    hub.hits.slice(1).map((hit) => hit.range),
    [`bytes=${body.length + 7}-`, undefined],
  )
  t.true(body.equals(await readFile(hub.partial)))
})

test('a size other than the known one is refused before the body, and nothing is left', async (t) => {
  const hub = await setUp(t, (request, response) => serve(body, request, response))
  await writeFile(hub.partial, body.subarray(0, 10))
  const error = await fails(t, hub.fetchIt({ bytes: body.length + 1 }))
  t.like(error.details, { what: 'bytes', expected: body.length + 1, found: body.length })
  t.false(await exists(hub.partial))
})

for (const status of [401, 403, 404]) {
  test(`status ${status} is not tried again`, async (t) => {
    const hub = await setUp(t, (_, response) => response.writeHead(status).end('no'))
    const error = await fails(t, hub.fetchIt({ token: 'secret' }))
    t.is(error.details['status'], status)
    t.is(hub.hits.length, 1)
    t.is(hub.hits[0]?.authorization, 'Bearer secret')
    t.is(error.message.includes('hubToken'), status !== 404)
    t.false(JSON.stringify([error.message, error.details]).includes('secret'))
  })
}

test('a busy server is asked again, five times in a row at most', async (t) => {
  let busy = 2
  const hub = await setUp(t, (request, response) => {
    if (busy-- > 0) response.writeHead(503, { 'retry-after': '0' }).end()
    else serve(body, request, response)
  })
  await hub.fetchIt()
  t.is(hub.hits.length, 3)
  busy = 100
  await rm(hub.partial)
  const error = await fails(t, hub.fetchIt())
  t.is(hub.hits.length, 3 + 5)
  t.is(error.details['status'], 503)
})

test('a body that falls silent counts as dropped', async (t) => {
  const hub = await setUp(t, (request, response) => {
    if (hub.hits.length > 1) return serve(body, request, response)
    response.writeHead(200, { 'content-length': body.length })
    return response.write(body.subarray(0, 1_000))
  })
  await hub.fetchIt({ timing: { ...quick, stallMs: 200 } })
  t.is(hub.hits[1]?.range, 'bytes=1000-')
  t.true(body.equals(await readFile(hub.partial)))
})

test('a hub that cannot be reached, or that never answers, fails quickly', async (t) => {
  const hub = await setUp(t, () => {})
  const silent = await fails(t, hub.fetchIt({ failFast: true, timing: { ...quick, connectMs: 100 } }))
  t.regex(silent.message, /no answer within 100 ms/)
  const { endpoint } = await startHub(() => {}).then(async (gone) => (await gone.close(), gone))
  const refused = await fails(t, hub.fetchIt({ failFast: true, url: `${endpoint}/model.gguf` }))
  t.is(refused.details['reason'], 'ECONNREFUSED')
})

test('an abort rejects with its reason and keeps the partial file for later', async (t) => {
  const abort = new AbortController()
  const reason = new Error('enough')
  const hub = await setUp(t, (request, response) => {
    if (hub.hits.length > 1) return serve(body, request, response)
    response.writeHead(200, { 'content-length': body.length })
    return response.write(body.subarray(0, 40_000))
  })
  const work = hub.fetchIt({
    signal: abort.signal,
    onProgress: (loaded) => loaded === 40_000 && setTimeout(() => abort.abort(reason), 0),
  })
  t.is(await t.throwsAsync(work), reason)
  t.is((await readFile(hub.partial)).length, 40_000)
  await hub.fetchIt()
  t.is(hub.hits[1]?.range, 'bytes=40000-')
  t.true(body.equals(await readFile(hub.partial)))
})

test('a full disk is an error that says so', async (t) => {
  if (!(await exists('/dev/full'))) return skip(t, 'skipped: no /dev/full here')
  const hub = await setUp(t, (request, response) => serve(body, request, response))
  await symlink('/dev/full', hub.partial)
  const error = await fails(t, hub.fetchIt())
  t.is(error.details['reason'], 'ENOSPC')
  t.is(hub.hits.length, 1)
})

test('a full disk is named wherever it is met', (t) => {
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  const { message, details } = diskFailure('The cache folder /c cannot be used', '/c', full)
  t.regex(message, /^The cache folder \/c cannot be used: the disk is full\. Free some space, or set `cacheDir` .*\.$/)
  t.deepEqual(details, { path: '/c', reason: 'ENOSPC' })
})

// ── which file a source stands for ──

const tree = [
  { type: 'file', path: 'README.md', size: 10 },
  { type: 'file', path: '../../outside.gguf', size: 10 },
  { type: 'file', path: 'tiny.Q4.gguf', size: 134, lfs: { size: body.length, oid: sha256 } },
]
const repository =
  (files: unknown): Answer =>
  (request, response, hit) =>
    hit.path.startsWith('/api/') ? response.end(JSON.stringify(files)) : serve(body, request, response)

test('a hub id finds its only GGUF, checks it and then lives in the cache', async (t) => {
  const hub = await setUp(t, repository(tree))
  const progress: LoadProgress[] = []
  const options = {
    cacheDir: hub.folder,
    hubEndpoint: `${hub.endpoint}/`,
    onProgress: (p: LoadProgress) => progress.push(p),
  }
  const path = await resolveModel('someone/tiny', options)
  t.true(body.equals(await readFile(path)))
  t.deepEqual(
    hub.hits.map((hit) => hit.path),
    ['/api/models/someone/tiny/tree/main?recursive=true', '/someone/tiny/resolve/main/tiny.Q4.gguf'],
  )
  t.deepEqual(progress.at(-1), {
    phase: 'download',
    file: 'tiny.Q4.gguf',
    loadedBytes: body.length,
    totalBytes: body.length,
  })
  t.is(await resolveModel('someone/tiny', { ...options, offline: true }), path)
  t.is(await resolveModel({ hub: 'someone/tiny', file: 'tiny.Q4.gguf' }, options), path)
  t.is(hub.hits.length, 2)
  t.deepEqual(await readdir(join(path, '..')), ['tiny.Q4.gguf'])
})

test('several GGUFs, or none of the name asked for, are listed', async (t) => {
  const hub = await setUp(t, repository([...tree, { type: 'file', path: 'tiny.Q8.gguf', size: 5 }]))
  const options = { cacheDir: hub.folder, hubEndpoint: hub.endpoint }
  const expected = { instanceOf: SkimError, code: 'ERR_MODEL_NOT_FOUND', message: /tiny\.Q4\.gguf, tiny\.Q8\.gguf/ }
  await t.throwsAsync(resolveModel('someone/tiny', options), expected)
  await t.throwsAsync(resolveModel({ hub: 'someone/tiny', file: 'x.gguf' }, options), expected)
})

test('onProgress that throws while a header is fetched is one warning', async (t) => {
  const hub = await setUp(t, repository(tree))
  const warnings: (Error & { code?: string })[] = []
  const listen = (warning: Error) => warnings.push(warning)
  process.on('warning', listen)
  const onProgress = () => {
    throw new Error('mine')
  }
  const options = { cacheDir: hub.folder, hubEndpoint: hub.endpoint, onProgress }
  // All of it has been fetched; what it is not is found then.
  await t.throwsAsync(inspectModel('someone/tiny', options), { instanceOf: SkimError, code: 'ERR_MODEL_CORRUPT' })
  await new Promise(setImmediate)
  process.off('warning', listen)
  t.is(warnings.filter(({ code }) => code === 'W_CALLBACK').length, 1)
})

test('a wrong hash is refused and removed', async (t) => {
  const hub = await setUp(t, repository([{ ...tree[2], lfs: { size: body.length, oid: '0'.repeat(64) } }]))
  const error = await fails(t, resolveModel('someone/tiny', { cacheDir: hub.folder, hubEndpoint: hub.endpoint }))
  t.like(error.details, { what: 'sha256', found: sha256 })
  t.deepEqual(await readdir(join(hub.folder, 'hub/someone--tiny/main')), [])
})

test('two calls at once fetch one file once', async (t) => {
  const hub = await setUp(t, repository(tree))
  const options = { cacheDir: hub.folder, hubEndpoint: hub.endpoint }
  const [a, b] = await Promise.all([resolveModel('someone/tiny', options), resolveModel('someone/tiny', options)])
  t.is(a, b)
  t.is(hub.hits.filter((hit) => hit.path.includes('/resolve/')).length, 1)
})

test('a lock that was taken over is left to its new holder', async (t) => {
  const { folder } = await setUp(t, () => {})
  const path = join(folder, 'model.lock')
  await withLock(path, undefined, () => writeFile(path, 'another'))
  t.is(await readFile(path, 'utf8'), 'another')
  const longAgo = new Date(Date.now() - 60_000)
  await utimes(path, longAgo, longAgo)
  t.not(await withLock(path, undefined, () => readFile(path, 'utf8')), 'another')
  t.false(await exists(path))
})

test('a lock that cannot be written is not left behind', async (t) => {
  const { folder } = await setUp(t, () => {})
  const path = join(folder, 'model.lock')
  // A limit on the size of files refuses what a full disk refuses: the bytes, not the file.
  const script = `import { withLock } from './src/hub/lock.ts'
    await withLock(${JSON.stringify(path)}, undefined, async () => {}).catch(({ code }) => console.log(code))`
  const node = [process.execPath, '--import', '@oxc-node/core/register', '--input-type=module', '--eval', script]
  const cwd = join(import.meta.dirname, '..')
  const { stdout } = await promisify(execFile)('sh', ['-c', 'ulimit -f 0 && exec "$@"', 'sh', ...node], { cwd })
  t.is(stdout, 'EFBIG\n')
  t.false(await exists(path))
})

test('a cache that takes no files is an error that says so', async (t) => {
  const hub = await setUp(t, repository([]))
  const settings = hubSettings({ cacheDir: hub.folder, hubEndpoint: hub.endpoint })
  // A name that is as long as names may be leaves no room for that of a lock.
  const error = await fails(t, resolveBuiltin({ ...builtin, file: 'x'.repeat(255) }, settings))
  t.like(error.details, { path: hub.folder, reason: 'ENAMETOOLONG' })
  t.regex(error.message, /cacheDir/)
})

test('of several files in the cache one must be named, offline as well', async (t) => {
  const other = { type: 'file', path: 'b/tiny.Q8.gguf', size: body.length }
  const hub = await setUp(t, repository([...tree, other]))
  const options = { cacheDir: hub.folder, hubEndpoint: hub.endpoint }
  const first = await resolveModel({ hub: 'someone/tiny', file: 'tiny.Q4.gguf' }, options)
  t.is(await resolveModel('someone/tiny', options), first)
  await resolveModel({ hub: 'someone/tiny', file: other.path }, options)
  for (const offline of [false, true])
    await t.throwsAsync(resolveModel('someone/tiny', { ...options, offline }), {
      instanceOf: SkimError,
      code: 'ERR_MODEL_NOT_FOUND',
      message: /tiny\.Q4\.gguf.*; name one/,
    })
})

test('offline never asks the hub', async (t) => {
  const hub = await setUp(t, repository(tree))
  const options = { cacheDir: hub.folder, hubEndpoint: hub.endpoint, offline: true }
  for (const source of [undefined, 'someone/tiny', { hub: 'someone/tiny' }]) {
    t.true((await fails(t, resolveModel(source, options))).details['offline'])
  }
  t.is(hub.hits.length, 0)
})

test('paths are made absolute; an existing one comes before any name', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'skimlm-hub-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const offline = { cacheDir: folder, offline: true }
  t.is(await resolveModel(folder, offline), folder)
  t.is(await resolveModel(relative(process.cwd(), folder), offline), folder)
  for (const missing of ['no/such/model', './model', 'model.gguf', '~/model', '/model', 'a\\b'])
    t.is(await resolveModel(missing, offline), resolve(missing.replace('~', homedir())))
  t.is(await resolveModel({ path: 'smollm2-135m' }, offline), resolve('smollm2-135m'))
  await t.throwsAsync(resolveModel('smollm2-136m', offline), { code: 'ERR_MODEL_NOT_FOUND', message: /smollm2-135m/ })
  await t.throwsAsync(resolveModel({ hub: '../x/y' }, offline), { code: 'ERR_INVALID_ARG' })
  for (const source of ['', null, 5, {}, { path: 5 }, { path: '' }, { hub: 5 }])
    await t.throwsAsync(
      resolveModel(source as never, offline),
      { instanceOf: SkimError, code: 'ERR_INVALID_ARG' },
      JSON.stringify(source),
    )
})

test('an aborted signal rejects with its reason before anything else', async (t) => {
  const reason = new Error('never mind')
  t.is(await t.throwsAsync(resolveModel('no-such-model', { signal: AbortSignal.abort(reason) })), reason)
})

// ── built-in models ──

const builtin = {
  ...defaultModel,
  file: 'tiny.gguf',
  bytes: body.length,
  sha256,
  wheel: { requirement: 'skimlm-test-model==1.0', member: 'skimlm_test_model/tiny.gguf', bytes: 1 },
}

test('a built-in model comes from the hub at its pinned revision', async (t) => {
  const hub = await setUp(t, repository([]))
  const settings = hubSettings({ cacheDir: hub.folder, hubEndpoint: hub.endpoint })
  t.is(await resolveBuiltin(builtin, settings), join(hub.folder, 'tiny.gguf'))
  t.deepEqual(
    hub.hits.map((hit) => hit.path),
    [`/${builtin.hub}/resolve/${builtin.revision}/tiny.gguf`],
  )
  t.true(await verifyBuiltin(builtin, settings))
  await writeFile(join(hub.folder, 'tiny.gguf'), randomBytes(body.length))
  t.false(await verifyBuiltin(builtin, settings))
  t.deepEqual(await readdir(hub.folder), [])
})

test('the cache folder: option, SKIMLM_CACHE_DIR, XDG_CACHE_HOME, home', (t) => {
  t.is(cacheDirectory('/a', { SKIMLM_CACHE_DIR: '/b' }), '/a')
  t.is(cacheDirectory(undefined, { SKIMLM_CACHE_DIR: '/b', XDG_CACHE_HOME: '/c' }), '/b')
  t.is(cacheDirectory(undefined, { XDG_CACHE_HOME: '/c' }), join('/c', 'skimlm'))
  t.regex(cacheDirectory(undefined, {}), /\.cache.skimlm$/)
  t.like(hubSettings({}, { SKIMLM_OFFLINE: '1', HF_TOKEN: 'x', HF_ENDPOINT: 'http://mirror/' }), {
    offline: true,
    token: 'x',
    endpoint: 'http://mirror',
  })
  t.false(hubSettings({}, { SKIMLM_OFFLINE: '0' }).offline)
})
