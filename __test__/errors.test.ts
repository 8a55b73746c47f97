import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { SkimError } from '../index.js'
import { errorCodes, warningCodes } from '../src/error-codes.js'
import { fromNative } from '../src/errors.js'
import { load, native } from '../src/native.js'

test('an error has code, details and message', (t) => {
  const error = new SkimError('ERR_HUB', 'No.', { status: 404 })
  t.is(error.name, 'SkimError')
  t.is(error.code, 'ERR_HUB')
  t.deepEqual(error.details, { status: 404 })
  t.true(Object.isFrozen(error.details))
  t.true(error instanceof Error)
})

test('a native error is taken apart and kept as the cause', (t) => {
  const failure = { code: 'ERR_NUMERICS', message: 'NaN.', details: { layer: 3 }, causes: ['overflow'] }
  const below = new Error(JSON.stringify(failure))
  const error = fromNative(below)
  t.is(error.code, 'ERR_NUMERICS')
  t.is(error.message, 'NaN.')
  t.deepEqual(error.details, { layer: 3 })
  t.is(error.cause, below)
  t.is(below.message, 'NaN. Caused by: overflow')
})

test('what is no coded error is an internal one', (t) => {
  t.is(fromNative(new Error('boom')).code, 'ERR_INTERNAL')
  t.is(fromNative(new Error('{"not": "closed"')).code, 'ERR_INTERNAL')
  t.is(fromNative('text').message, 'text')
  const known = new SkimError('ERR_BUSY', 'Later.')
  t.is(fromNative(known), known)
})

test('wrong types at the seam are the caller’s mistake', (t) => {
  const raw = native() as unknown as { selectTopK(...args: unknown[]): void }
  const error = fromNative(t.throws(() => raw.selectTopK('no', true, new Uint32Array(1)), { any: true }))
  t.is(error.code, 'ERR_INVALID_ARG', error.message)
})

test('a binding that cannot be loaded says what was tried and what helps', (t) => {
  const tried = new Error('Cannot find native binding', { cause: new Error("Cannot find module './x.node'\nstack") })
  const error = t.throws(() => load(() => thrown(tried)), { instanceOf: SkimError, code: 'ERR_NATIVE_BINDING' })!
  t.is(error.details['platform'], process.platform)
  t.is(error.details['arch'], process.arch)
  t.true('libc' in error.details)
  t.deepEqual(error.details['tried'], ['Cannot find native binding', "Cannot find module './x.node'"])
  t.regex(String(error.details['fix']), /npm run build/)
  t.is(error.cause, tried)
})

test('an old glibc, an asar archive and an absent package are recognised', (t) => {
  const fix = (message: string) =>
    t.throws(() => load(() => thrown(new Error(message))), { instanceOf: SkimError })!.details['fix']
  t.regex(String(fix("version `GLIBC_2.38' not found")), /glibc/)
  t.regex(String(fix('cannot open /app.asar/node_modules/x.node')), /asarUnpack/)
  const own = `@skimlm/binding-${process.platform}-${process.arch}-gnu`
  t.true(String(fix(`Cannot find module '${own}'`)).startsWith(`Install ${own} `))
  t.regex(String(fix("Cannot find module '@skimlm/binding-wasm32-wasi'")), /^Build it/)
})

test('every warning has its line in the table, on either side of the seam', async (t) => {
  const root = join(import.meta.dirname, '..')
  const crates = (await readdir(join(root, 'crates'))).map((crate) => join(root, 'crates', crate, 'src'))
  const named = [join(root, 'src'), ...crates].map(async (folder) => {
    const names = await readdir(folder, { recursive: true })
    const sources = names.filter((name) => /\.(ts|rs)$/.test(name) && !/tests?(\.rs|\/)|error-codes/.test(name))
    const texts = await Promise.all(sources.map((name) => readFile(join(folder, name), 'utf8')))
    return texts.flatMap((text) => text.match(/(?<=code: ["'])W_\w+/g) ?? [])
  })
  t.deepEqual([...new Set((await Promise.all(named)).flat())].sort(), Object.keys(warningCodes))
})

test('every error of the engine has its line in the table, but that of cancelling, which no caller sees', async (t) => {
  const source = await readFile(join(import.meta.dirname, '../crates/core/src/error.rs'), 'utf8')
  const codes = Array.from(source.matchAll(/"(ERR_\w+)"/g), ([, code]) => code!)
  t.true(codes.length > 10)
  t.deepEqual(
    codes.filter((code) => !Object.hasOwn(errorCodes, code)),
    ['ERR_CANCELLED'],
  )
})

function thrown(error: Error): never {
  throw error
}
