// Packs the GPU tests and benches so that they run on a machine with a driver, CUDA 13's libraries and no Rust:
// `npm run pack:gpu` here, then `target/cuda/suite/run.sh` there (the folder and its archive hold the same files).
import { copyFileSync, chmodSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { built, linkable, nvcc, root, run, settings } from './cuda/toolkit.mjs'

const limit = 64 << 20
const folder = join(root, 'target/cuda/suite')
const feature = ['--features', 'skimlm-kernels/cuda']
const env = { ...settings, NVCC: nvcc(), CUDA_HOME: linkable() }

rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
const programs = [
  ['kernel-tests', ['test', '--no-run', '-p', 'skimlm-kernels', '--lib', ...feature]],
  ['kernel-bench', ['build', '-p', 'skimlm-kernels', '--example', 'gpu_kernels', ...feature]],
  ['engine-bench', ['build', '-p', 'skimlm-engine', '--example', 'gpu_requests', ...feature]],
]
for (const [name, args] of programs) {
  copyFileSync(built([...args, '--release', '--locked'], env), join(folder, name))
  run('strip', [join(folder, name)])
}
copyFileSync(join(root, 'bench/gpu/torch_peers.py'), join(folder, 'torch_peers.py'))
copyFileSync(join(root, 'scripts/cuda/run-suite.sh'), join(folder, 'run.sh'))
chmodSync(join(folder, 'run.sh'), 0o755)
const archive = `${folder}.tar.xz`
run('tar', ['-C', join(folder, '..'), '-cJf', archive, 'suite'])
const { size } = statSync(archive)
console.log(`packed ${archive}, ${(size / (1 << 20)).toFixed(1)} MiB`)
if (size > limit) {
  console.error('That is more than the 64 MiB it may have.')
  process.exit(1)
}
