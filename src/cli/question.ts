import type { Command } from 'commander'
import type { Prompt } from '../types.js'
import { exit } from './exit.js'
import type { PromptFlags } from './flags.js'
import { readText } from './input.js'

/** `[model] <question>`: one word is the question. */
export function split(words: readonly string[], command: Command): { model?: string; question: string } {
  const [first = '', second] = words
  if (words.length > 2) command.error('error: too many words; put the question in quotes', { exitCode: exit.usage })
  if (second !== undefined) return { model: first, question: second }
  if (/\.gguf$/i.test(first))
    command.error(`error: ${first} is a model; the question is missing`, { exitCode: exit.usage })
  return { question: first }
}

/** A question over a document, or a plain chat where there is none. */
export async function readPrompt(question: string, { file, system }: PromptFlags): Promise<Prompt> {
  if (file !== undefined)
    return { document: await readText(file), question, ...(system === undefined ? {} : { system }) }
  const asked = { role: 'user', content: question } as const
  return system === undefined ? [asked] : [{ role: 'system', content: system }, asked]
}
