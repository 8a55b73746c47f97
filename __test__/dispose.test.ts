import test from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { type Model, SkimError, loadModel } from '../index.js'
import { tinyModel } from './tiny.js'

const document = 'the of in '.repeat(20_000)

async function load(): Promise<Model> {
  return loadModel(await tinyModel('positions=262144'))
}

const disposed = { instanceOf: SkimError, code: 'ERR_DISPOSED' } as const

test('disposing while generating ends every generation', async (t) => {
  const model = await load()
  const [running, waiting, late] = [model.generate(document), model.generate('the'), model.generate('the')]
  const read = async () => {
    for await (const _ of running);
  }
  const ends = [t.throwsAsync(read(), disposed), t.throwsAsync(waiting.result, disposed)]
  await model.dispose()
  await Promise.all(ends)
  await t.throwsAsync(running.result, disposed)
  await t.throwsAsync(running.selection, disposed)
  await t.throwsAsync(late.text(), disposed)
})

test('disposing twice is disposing once', async (t) => {
  const model = await load()
  t.is(model.dispose(), model.dispose())
  t.true(model.disposed)
  await model.dispose()
  await model[Symbol.asyncDispose]()
  t.true(model.disposed)
})

test('a disposed model refuses all work', async (t) => {
  const model = await load()
  const { tokenizer } = model
  await model.dispose()
  t.throws(() => model.generate('the'), disposed)
  await t.throwsAsync(model.select('the'), disposed)
  t.throws(() => tokenizer.encode('the'), disposed)
  t.is(model.info.layers, 6)
})

test('a generation keeps its model', async (t) => {
  const { setFlagsFromString } = await import('node:v8')
  const { runInNewContext } = await import('node:vm')
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const generation = await load().then((model) => model.generate('the of in', { maxNewTokens: 3 }))
  for (let i = 0; i < 3; i++) {
    collect()
    await new Promise(setImmediate)
  }
  t.is((await generation.result).usage.promptTokens > 0, true)
})

test('a forgotten model is freed, and said to be where that is asked for', async (t) => {
  const script = join(import.meta.dirname, 'forgotten.ts')
  const args = ['--expose-gc', '--import', '@oxc-node/core/register', script, await tinyModel()]
  const child = spawn(process.execPath, args, {
    env: { ...process.env, NODE_DEBUG: 'skimlm' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  for await (const text of child.stderr.setEncoding('utf8')) {
    said += text
    if (said.includes('nobody had disposed of')) break
  }
  const exit = once(child, 'exit')
  child.kill()
  await exit
  t.regex(said, /SKIMLM.*nobody had disposed of/)
})
