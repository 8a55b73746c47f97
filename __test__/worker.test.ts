import test from 'ava'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import * as threads from 'node:worker_threads'
import { loadModel } from '../index.js'
import { tinyModel } from './tiny.js'

const path = (name: string) => new URL(name, import.meta.url)

test('a model works in a worker thread', async (t) => {
  const workerData = { model: await tinyModel(), prompt: 'the of in' }
  const worker = new threads.Worker(path('./worker-thread.ts'), { workerData })
  const exit = once(worker, 'exit')
  const [message] = await once(worker, 'message')
  const model = await loadModel(workerData.model)
  t.is(message.text, await model.generate(workerData.prompt, { maxNewTokens: 10 }).text())
  await model.dispose()
  t.deepEqual(await exit, [0])
})

test('a worker thread can be started and ended 50 times', async (t) => {
  const workerData = { model: await tinyModel(), prompt: 'the of in' }
  const tasks = () => (process.platform === 'linux' ? readdirSync('/proc/self/task').length : 0)
  let before = 0
  for (let time = 1; time <= 50; time++) {
    const worker = new threads.Worker(path('./worker-thread.ts'), { workerData })
    const exit = once(worker, 'exit')
    // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
    t.deepEqual(await exit, [0])
    if (time === 5) before = tasks()
  }
  // A model that left a thread behind would have left 45.
  t.true(tasks() < before + 10, `${before} threads became ${tasks()}`)
})

test('a worker can be terminated in the middle of a prompt, and others go on', async (t) => {
  const model = await tinyModel('positions=262144')
  const workerData = { model, prompt: 'the of in '.repeat(20_000) }
  const worker = new threads.Worker(path('./worker-thread.ts'), { workerData })
  const [message] = await once(worker, 'message')
  t.is(message, 'reading')
  await worker.terminate()
  const other = await loadModel(model)
  t.is((await other.generate('the', { maxNewTokens: 1 }).result).usage.newTokens, 1)
  await other.dispose()
})

// Node 20 cannot forbid it; the model arrives as `{}` there.
const posting = 'markAsUncloneable' in threads ? test : test.skip
posting('a model cannot be posted to another thread', async (t) => {
  const model = await loadModel(await tinyModel())
  t.throws(() => structuredClone(model), { name: 'DataCloneError' })
  await model.dispose()
})
