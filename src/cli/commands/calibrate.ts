import { resolve } from 'node:path'
import type { Command } from 'commander'
import { invalidOption } from '../../errors.js'
import { pick } from '../../options.js'
import { type CalibrationPlan, calibrate, type Profile } from '../../study.js'
import {
  type ModelFlags,
  addModelFlags,
  flag,
  modelByDefault,
  nameOf,
  number,
  sourceOf,
  whole,
  wholes,
} from '../flags.js'
import { interruptible } from '../interrupt.js'
import { openModel } from '../open.js'
import { checkFolder, save } from '../output.js'
import { Pace } from '../render/pace.js'
import { ProgressLine } from '../render/progress.js'
import { table } from '../render/table.js'
import { count } from '../render/units.js'

const phases = { listen: 'listening', choose: 'choosing heads', check: 'checking' } as const

/** Options of the plan that flags pass on as they are. */
const planKeys = ['cases', 'lengths', 'seed', 'keep', 'exactBelow'] as const

interface Flags extends ModelFlags, Pick<CalibrationPlan, (typeof planKeys)[number]> {
  file?: string
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
    .argument('[model]', `the model ${modelByDefault}`)
  addModelFlags(command)
    .addOption(flag('-f, --file <path>', 'the text to hide facts in, a book or longer'))
    .addOption(flag('--cases <n>', 'cases of each task and length (default: 3)', whole))
    .addOption(flag('--lengths <list>', 'document lengths in tokens (default: 1000,2500)', wholes))
    .addOption(flag('--seed <n>', 'the first seed (default: 0)', whole))
    .addOption(flag('--keep <share>', 'the share of the prompt that is read in the end (default: 0.2)', number))
    .addOption(flag('--exact-below <tokens>', 'read shorter prompts whole (default: 1024)', whole))
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
      const plan = { text: resolve(file), name: nameOf(sourceOf(name, flags)), ...pick(flags, planKeys) }
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
