import { randomUUID } from 'node:crypto'
import { open, readFile, rm, stat, utimes } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

const beatMs = 2_000
// A holder that misses this many heartbeats is dead; a process id would mean nothing across containers.
const staleMs = 5 * beatMs

/** Runs `work` while no other process, and no other call in this one, holds the lock file. */
export async function withLock<T>(path: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const id = randomUUID()
  while (!(await take(path, id))) await sleep(200, undefined, signal ? { signal } : {})
  const beat = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), beatMs)
  try {
    return await work()
  } finally {
    clearInterval(beat)
    await release(path, id)
  }
}

async function take(path: string, id: string): Promise<boolean> {
  try {
    await create(path, id)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    // Its holder is read before its age: a lock that is taken in between is young.
    const holder = await holderOf(path)
    const held = await stat(path).catch(() => null)
    if (holder !== null && held !== null && Date.now() - held.mtimeMs > staleMs) await release(path, holder)
    return false
  }
}

/** Makes the lock file; one that takes no bytes, as on a full disk, does not stay: nobody could release it. */
async function create(path: string, id: string): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.writeFile(id)
  } catch (error) {
    await rm(path, { force: true })
    throw error
  } finally {
    await file.close()
  }
}

/** Removes the lock of this holder; a lock that another has taken over stays. */
async function release(path: string, holder: string): Promise<void> {
  if ((await holderOf(path)) === holder) await rm(path, { force: true })
}

function holderOf(path: string): Promise<string | null> {
  return readFile(path, 'utf8').catch(() => null)
}
