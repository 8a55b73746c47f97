// PyTorch and transformers from PyPI, in an environment of their own. PyTorch's wheel for Linux is linked with 3 GB of CUDA's
// libraries, which double the memory of a process. Without a GPU only the runtime, a small one, is ever called, to say so;
// empty libraries take the place of the others.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../rounds.js'

const folder = join(root, 'target/peers/python')
const program = join(folder, 'bin/python')
const stamp = join(folder, 'installed.txt')
const requirements = join(root, 'bench/peers/requirements.txt')

/** The environment's Python, installed where it is missing or of other versions. Throws where that fails. */
export function python(): string {
  const wanted = readFileSync(requirements, 'utf8')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted && loads()) return program
  process.stderr.write('PyTorch and transformers are fetched from PyPI (about 600 MB, once)\n')
  rmSync(folder, { recursive: true, force: true })
  run('python3', ['-m', 'venv', folder])
  run(program, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '-r', requirements])
  if (process.platform === 'linux') standIns()
  run(program, ['-c', load])
  writeFileSync(stamp, wanted)
  return program
}

const load = 'import torch, transformers'

function loads(): boolean {
  try {
    run(program, ['-c', load])
    return true
  } catch {
    return false
  }
}

/** A library for each that PyTorch's need and that did not come along, with the functions that these call. */
function standIns(): void {
  const site = run(program, ['-c', 'import sysconfig; print(sysconfig.get_path("platlib"))']).trim()
  const lib = join(site, 'torch/lib')
  const libraries = readdirSync(lib).flatMap((name) => (name.includes('.so') ? [join(lib, name)] : []))
  const about = run('readelf', ['-dVW', ...libraries])
  const needed = new Set(Array.from(about.matchAll(/\(NEEDED\).*\[(lib(?:cu|nv|nccl).+)\]/g), ([, name]) => name!))
  // The loader wants each function in the library, and under the version, that the wheel was linked with.
  const versions = new Map(
    Array.from(about.matchAll(/File: (\S+) .*\n.*Name: (\S+)/g), ([, name, its]) => [name!, its!]),
  )
  const functions = new Map<string, Set<string>>()
  const undefinedOnes = / U ((?:__cuda|cu|nccl|nvrtc|nvshmem)\w+)(?:@(\S+))?/g
  for (const [, name, version = ''] of run('nm', ['-D', '--undefined-only', ...libraries]).matchAll(undefinedOnes))
    functions.set(version, (functions.get(version) ?? new Set()).add(name!))

  // Where PyTorch looks first for CUDA 13.
  const target = join(site, 'nvidia/cu13/lib')
  const source = join(target, 'source.c')
  const script = join(target, 'versions')
  mkdirSync(target, { recursive: true })
  for (const name of needed) {
    // The driver's own is looked for by the runtime, which is to say that there is none.
    if (name === 'libcuda.so.1' || existsSync(join(target, name))) continue
    const version = versions.get(name)
    const bodies = Array.from(functions.get(version ?? '') ?? [], (each) => `void ${each}(void) {}\n`)
    writeFileSync(source, bodies.join(''))
    writeFileSync(script, version ? `${version} { *; };` : '{ *; };')
    run('cc', ['-shared', '-w', `-Wl,-soname,${name},--version-script,${script}`, '-o', join(target, name), source])
  }
  for (const left of [source, script]) rmSync(left, { force: true })
}

/** Runs a command for its output; its failure is thrown as what it wrote last. */
function run(command: string, args: readonly string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 })
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string }
    const last = stderr?.trim().split('\n').at(-1)
    throw new Error(`\`${command}\` failed: ${last || message}`, { cause: error })
  }
}
