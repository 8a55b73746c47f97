import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

export interface SimdLevel {
  level: string
  /** The extensions the kernels may use, as the system calls them. */
  flags: string[]
  enough: boolean
}

const known = [
  'avx2',
  'fma',
  'f16c',
  'avx512f',
  'avx512bw',
  'avx512_vnni',
  'avx512_bf16',
  'avx512_fp16',
  'amx_tile',
  'amx_int8',
  'amx_bf16',
]

/** What the processor offers, told by the operating system; none of it needs the native binding. */
export async function simdLevel(): Promise<SimdLevel> {
  if (process.arch === 'arm64') return { level: 'NEON', flags: [], enough: true }
  const all = await systemFlags()
  if (all === null) return { level: 'unknown on this system', flags: [], enough: true }
  const flags = known.filter((flag) => all.has(flag))
  const level = all.has('amx_tile') ? 'AMX' : all.has('avx512f') ? 'AVX-512' : all.has('avx2') ? 'AVX2' : 'no AVX2'
  return { level, flags, enough: all.has('avx2') }
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
