// Run by dispose.test.ts: loads a model, forgets it, and waits for the collector to find it.
import { loadModel } from '../index.js'

async function forget(): Promise<void> {
  await loadModel(process.argv[2])
}

await forget()
const collect = globalThis.gc
if (!collect) throw new Error('run with --expose-gc')
// The collector needs a turn of the event loop to tell; the parent ends this process once it has.
setInterval(() => void collect(), 10)
