import { open, rm, stat, utimes } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

const beatMs = 2_000
// A holder that misses this many heartbeats is dead; a process id would mean nothing across containers.
const staleMs = 5 * beatMs

/** Runs `work` while no other process, and no other call in this one, holds the lock file. */
export async function withLock<T>(path: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  while (!(await take(path))) await sleep(200, undefined, signal ? { signal } : {})
  const beat = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), beatMs)
  try {
    return await work()
  } finally {
    clearInterval(beat)
    await rm(path, { force: true })
  }
}

async function take(path: string): Promise<boolean> {
  try {
    await (await open(path, 'wx')).close()
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    const held = await stat(path).catch(() => null)
    if (held !== null && Date.now() - held.mtimeMs > staleMs) await rm(path, { force: true })
    return false
  }
}
