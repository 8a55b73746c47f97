import { createRequire } from 'node:module'
import { Command, CommanderError } from 'commander'
import type { WarningCode } from '../errors.js'
import { askCommand } from './commands/ask.js'
import { calibrateCommand } from './commands/calibrate.js'
import { compareCommand } from './commands/compare.js'
import { doctorCommand } from './commands/doctor.js'
import { evalCommand } from './commands/eval.js'
import { inspectCommand } from './commands/inspect.js'
import { pullCommand } from './commands/pull.js'
import { selectCommand } from './commands/select.js'
import { serveCommand } from './commands/serve.js'
import { exit, reportFailure } from './exit.js'
import { flag } from './flags.js'
import { printWarnings } from './render/result.js'

/** Runs one command line; resolves to the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  // A reader that closes the pipe early (`| head`) has what it wanted.
  process.stdout.on('error', (error: NodeJS.ErrnoException) =>
    process.exit(error.code === 'EPIPE' ? exit.ok : exit.failure),
  )
  printRemarks()
  let code: number = exit.ok
  let json = false
  const program = build((result) => (code = result))
  program.hook('preAction', (_, command) => void (json = command.opts()['json'] === true))
  try {
    await program.parseAsync(argv)
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exit.ok : exit.usage
    return reportFailure(error, { json, debug: program.opts()['debug'] === true })
  }
}

/** Prints our own process warnings as those of results are printed; all others stay with Node's printer. */
function printRemarks(): void {
  const others = process.listeners('warning')
  process.removeAllListeners('warning')
  process.on('warning', (warning) => {
    const { name, code, message } = warning as Error & { code?: WarningCode }
    if (name === 'SkimWarning' && code !== undefined) printWarnings([{ code, message }])
    else for (const print of others) print.call(process, warning)
  })
}

function build(done: (code: number) => void): Command {
  const program = new Command('skimlm')
    .description(
      'Answers questions over long text with a local language model: early layers select, the full model reads only that.',
    )
    .version(version(), '-V, --version')
    .addOption(flag('--debug', 'print the stack of an error'))
    .showHelpAfterError(
      '(--help lists the commands and flags; every flag but --help and --version has an environment variable)',
    )
    // Subcommands take these settings over when they are made.
    .exitOverride()
  const commands = [askCommand, selectCommand, compareCommand, inspectCommand, pullCommand, doctorCommand]
  for (const add of [...commands, evalCommand, calibrateCommand, serveCommand]) add(program, done)
  return program
}

function version(): string {
  const manifest = createRequire(import.meta.url)('skimlm/package.json') as { version: string }
  return manifest.version
}
