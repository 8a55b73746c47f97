import type { Model as NativeModel } from '#native'
import { invalidOption } from './errors.js'
import { call } from './native.js'
import { plain } from './options.js'
import type { Tokenizer } from './types.js'

/** `model` throws `ERR_DISPOSED` once there is none. */
export function makeTokenizer(model: () => NativeModel): Tokenizer {
  return {
    encode: (text, { special = false } = {}) => call(() => model().encode(wellFormed('text', text), special)),
    decode(ids, { skipSpecial = false } = {}) {
      if (!(ids instanceof Uint32Array)) throw invalidOption('ids', ids, 'a Uint32Array')
      return call(() => model().decode(ids, skipSpecial))
    },
    encodeWithOffsets: (text) => call(() => model().encodeWithOffsets(wellFormed('text', text))),
    applyChatTemplate(messages, { addGenerationPrompt = true } = {}) {
      const json = JSON.stringify(plain(messages, 'messages', { replaced: false }))
      return call(() => model().applyChatTemplate(json, addGenerationPrompt))
    },
  }
}

function wellFormed(name: string, text: string): string {
  if (typeof text !== 'string') throw invalidOption(name, text, 'a string')
  return text.toWellFormed()
}
