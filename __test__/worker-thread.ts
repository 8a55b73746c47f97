import { parentPort, workerData } from 'node:worker_threads'
import { loadModel } from '../index.js'

const { model: path, prompt } = workerData as { model: string; prompt: string }
const model = await loadModel(path)
let told = false
const onPrefill = () => {
  if (prompt.length > 1000 && !told) parentPort?.postMessage('reading')
  told = true
}
const text = await model.generate(prompt, { maxNewTokens: 10, onPrefill }).text()
parentPort?.postMessage({ text })
await model.dispose()
