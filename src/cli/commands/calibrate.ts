import { basename, resolve } from 'node:path'
import type { Command } from 'commander'
import { invalidOption } from '../../errors.js'
import { calibrate, type Profile } from '../../study.js'
import { type ModelFlags, addModelFlags, flag, number, whole, wholes } from '../flags.js'
import { interruptible } from '../interrupt.js'
import { openModel } from '../open.js'
import { checkFolder, save } from '../output.js'
import { Pace } from '../render/pace.js'
import { ProgressLine } from '../render/progress.js'
import { table } from '../render/table.js'
import { count } from '../render/units.js'

const phases = { listen: 'listening', choose: 'choosing heads', check: 'checking' } as const

interface Flags extends ModelFlags {
  file?: string
  cases: number
  lengths: number[]
  seed: number
  keep: number
  out: string
}

export function calibrateCommand(program: Command, done: (code: number) => void): void {
  const command = program
    .command('calibrate')
    .summary('find out which heads of a model find evidence')
    .description(
      'Hides facts in a text, measures which heads of the early layers find them, and writes a profile that the policy auto ' +
        'uses: with `--profile`, or as `<model>.skimlm.json` beside the model by itself.',
    )
    .argument('[model]', 'the model (default: SKIMLM_MODEL, else smollm2-135m)')
  addModelFlags(command)
    .addOption(flag('-f, --file <path>', 'the text to hide facts in, a book or longer'))
    .addOption(flag('--cases <n>', 'cases of each task and length', whole).default(3))
    .addOption(flag('--lengths <list>', 'document lengths in tokens', wholes).default([1000, 2500], '1000,2500'))
    .addOption(flag('--seed <n>', 'the first seed', whole).default(0))
    .addOption(flag('--keep <share>', 'the share of the prompt that is read in the end', number).default(0.2))
    .addOption(flag('-o, --out <file>', 'where the profile goes').default('profile.skimlm.json'))
    .action(async (name: string | undefined, flags: Flags) => done(await run(name, flags)))
}

async function run(name: string | undefined, flags: Flags): Promise<number> {
  const { file } = flags
  if (file === undefined) throw invalidOption('--file', undefined, 'a text to hide facts in')
  await checkFolder(flags.out)
  return interruptible(async (interrupts) => {
    const progress = new ProgressLine()
    const model = await openModel(name, flags, progress, interrupts.signal)
    try {
      const plan = {
        text: resolve(file),
        name: basename(name ?? 'default'),
        lengths: flags.lengths,
        cases: flags.cases,
        seed: flags.seed,
        keep: flags.keep,
      }
      let at: keyof typeof phases | undefined
      let pace = new Pace()
      const profile = await calibrate(model, plan, {
        signal: interrupts.signal,
        onProgress: ({ phase, done, total }) => {
          if (phase !== at) [at, pace] = [phase, new Pace()]
          progress.show(`${phases[phase]}${pace.left(done, total)}`, done, total, (n) => `${count(n)} steps`)
        },
      })
      progress.clear()
      await save(flags.out, `${JSON.stringify(profile, null, 2)}\n`)
      process.stdout.write(`${settings(profile)}${resolve(flags.out)}\n`)
    } finally {
      progress.clear()
      await model.dispose()
    }
  })
}

function settings(profile: Profile): string {
  const rows = profile.settings.map(({ name, recall, cost }) => [
    name,
    `${recall.mean.toFixed(2)} (${recall.low.toFixed(2)} to ${recall.high.toFixed(2)})`,
    `${(100 * cost).toFixed(0)} %`,
  ])
  return table([['layers', 'evidence recall', 'operations'], ...rows])
}
