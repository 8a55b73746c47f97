import { type FileHandle, open } from 'node:fs/promises'
import { diskFailure } from './disk.js'
import { Interrupted, reasonOf } from './http.js'

export type Progress = (loadedBytes: number, totalBytes: number | null) => void

interface Target {
  to: string
  /** Bytes of the file already there and kept. */
  from: number
  total: number | null
  stallMs: number
  onProgress?: Progress | undefined
}

const progressMs = 100

/** Writes a body behind the first `from` bytes of a file; returns the size of the file then. */
export async function receive(response: Response, target: Target): Promise<number> {
  const file = await onDisk(target.to, () => open(target.to, target.from > 0 ? 'a' : 'w'))
  try {
    return await copy(response, file, target)
  } finally {
    await file.close()
  }
}

async function copy(
  response: Response,
  file: FileHandle,
  { to, from, total, stallMs, onProgress }: Target,
): Promise<number> {
  let loaded = from
  let reported = 0
  if (response.body === null) return loaded
  const reader = response.body.getReader()
  try {
    for (;;) {
      const { done, value } = await alive(reader.read(), stallMs)
      if (done) break
      await onDisk(to, () => file.writeFile(value))
      loaded += value.byteLength
      if (performance.now() - reported > progressMs) {
        reported = performance.now()
        onProgress?.(loaded, total)
      }
    }
  } finally {
    await reader.cancel().catch(() => {})
  }
  onProgress?.(loaded, total)
  return loaded
}

/** The network's part: any failure, or silence, is an interruption. */
async function alive<T>(read: Promise<T>, stallMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Interrupted(`nothing arrived for ${stallMs} ms`)), stallMs)
  })
  try {
    return await Promise.race([read, silence])
  } catch (error) {
    throw error instanceof Interrupted ? error : new Interrupted(reasonOf(error))
  } finally {
    clearTimeout(timer)
  }
}

/** The disk's part: no failure here gets better by asking the hub again. */
async function onDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw diskFailure(`Writing ${path} failed`, path, error)
  }
}
