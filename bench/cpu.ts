import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

/** The widest instructions of the processor, told by the operating system. */
export async function simdLevel(): Promise<string> {
  if (process.arch === 'arm64') return 'NEON'
  const all = await systemFlags()
  if (all === null) return 'unknown on this system'
  return all.has('amx_tile') ? 'AMX' : all.has('avx512f') ? 'AVX-512' : all.has('avx2') ? 'AVX2' : 'no AVX2'
}

async function systemFlags(): Promise<Set<string> | null> {
  try {
    if (process.platform === 'linux') {
      const line = /^flags\s*:(.*)$/m.exec(await readFile('/proc/cpuinfo', 'utf8'))
      return line ? new Set(line[1]?.trim().split(/\s+/)) : null
    }
    if (process.platform === 'darwin') {
      const names = ['machdep.cpu.features', 'machdep.cpu.leaf7_features']
      const { stdout } = await promisify(execFile)('sysctl', ['-n', ...names])
      return new Set(stdout.toLowerCase().trim().split(/\s+/))
    }
  } catch {
    // A container may hide both.
  }
  return null
}
