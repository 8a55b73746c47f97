// Checks all that is for GPUs on a machine without one: host code by the compiler and the linter, with a stand-in
// for nvcc, then our own kernels by the real nvcc, for every processor they are built for, warnings and register
// spills being errors. `--host` leaves the kernels out, `--kernels` the host code; the latter skips, aloud, where no nvcc
// can be had.
import { nvcc, nvccIfAny, run, settings, standIn } from './cuda/toolkit.mjs'

const packages = ['skimlm-kernels', 'skimlm-core', 'skimlm-models', 'skimlm-engine', 'skimlm-node']
const chosen = packages.flatMap((name) => ['-p', name])
const clippy = ['clippy', '--locked', ...chosen, '--features', 'skimlm-kernels/cuda', '--all-targets']
const kernels = ['check', '--locked', '-p', 'skimlm-kernels', '--features', 'cuda']
const host = { ...settings, NVCC: standIn }
const [onlyHost, onlyKernels] = ['--host', '--kernels'].map((flag) => process.argv.includes(flag))
if (onlyHost && onlyKernels) {
  console.error('`--host` and `--kernels` together leave nothing to check. Name one of them, or none for all.')
  process.exit(1)
}

if (!onlyKernels) timed('host code', () => run('cargo', [...clippy, '--', '--deny', 'warnings'], host))
if (!onlyHost) {
  const compiler = onlyKernels ? nvccIfAny() : nvcc()
  if (compiler) timed('kernels', () => run('cargo', kernels, { ...host, SKIMLM_NVCC: compiler }))
}

function timed(what, work) {
  const started = performance.now()
  work()
  console.log(`${what}: fine after ${Math.round((performance.now() - started) / 1000)} s`)
}
