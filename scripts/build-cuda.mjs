// Builds the addon with CUDA and puts it beside the one without: native/skimlm.<platform>-cuda.node. Needs no GPU.
// candle's kernels take about 440 core-seconds and are for one processor only, which `CUDA_COMPUTE_CAP` names: 90,
// Hopper, if unset; 80, 86 or 89 elsewhere. Our own kernels are always built for all of them. `--debug` builds without optimisation.
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { built, linkable, nvcc, root, settings } from './cuda/toolkit.mjs'

if (process.platform !== 'linux') {
  console.error('The build with CUDA is for Linux; elsewhere there is the one for the CPU.')
  process.exit(1)
}
const debug = process.argv.includes('--debug')
const args = ['build', '--locked', '-p', 'skimlm-node', '--features', 'skimlm-kernels/cuda']
const env = { ...settings, NVCC: nvcc(), CUDA_HOME: linkable() }
const library = built(debug ? args : [...args, '--release'], env)
const addon = join(root, 'native', `skimlm.${process.platform}-${process.arch}-gnu-cuda.node`)
mkdirSync(join(root, 'native'), { recursive: true })
copyFileSync(library, addon)
console.log(`built ${addon}`)
