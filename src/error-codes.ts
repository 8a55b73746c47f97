interface About {
  /** What has happened. */
  means: string
  /** What helps, as far as it can be said without the message. */
  help: string
  /** Names in `details`, as far as they are always or usually there. */
  details: readonly string[]
}

/** The stable names of failures, never renamed; `docs/errors.md` is made from this table. */
export const errorCodes = {
  ERR_NATIVE_BINDING: {
    means: 'There is no native binding for this platform, or it does not load: another libc, an older glibc.',
    help: 'Follow `details.fix`: build it, install the named package, or unpack it from an archive.',
    details: ['platform', 'arch', 'libc', 'tried', 'fix'],
  },
  ERR_MODEL_NOT_FOUND: {
    means: 'The path does not exist, or the folder holds no model, several, or one with shards missing.',
    help: 'Compare the path with those found beside it.',
    details: ['path', 'found', 'missing'],
  },
  ERR_MODEL_CORRUPT: {
    means: 'The file is not what its name says (a web page, a Git LFS pointer), is cut short, or contradicts itself.',
    help: 'Fetch the file again.',
    details: ['path'],
  },
  ERR_MODEL_UNSUPPORTED: {
    means: 'The model is sound, but its architecture or number format is not one that this version runs.',
    help: 'Take one of the formats in `details.supported`.',
    details: ['architecture', 'supported'],
  },
  ERR_HUB: {
    means: 'A download failed: no connection, no permission, no such file, a full disk, a checksum that differs.',
    help: 'What has arrived is kept, unless its size or checksum is wrong; the next call goes on there. Or pass the path of a local file.',
    details: ['url', 'status'],
  },
  ERR_TOKENIZER: {
    means:
      'The tokenizer is missing, is of a kind that is not supported, or has more tokens than the embedding has rows.',
    help: 'Pass the right `tokenizer.json` as the option `tokenizer`.',
    details: ['path', 'supported', 'tokens', 'rows'],
  },
  ERR_CHAT_TEMPLATE: {
    means: 'Messages need a chat template and the model has none, or the template refuses these messages.',
    help: 'Pass the option `chatTemplate`, or a prompt that is plain text.',
    details: ['option', 'reason'],
  },
  ERR_INVALID_ARG: {
    means: 'An option or argument is wrong.',
    help: 'The message says what it must be; a long `value` of the native side is cut to the beginning of its JSON.',
    details: ['option', 'value', 'expected'],
  },
  ERR_POLICY_UNSUPPORTED: {
    means:
      'The policy cannot be right on this model: a window hides what it needs, heads differ, anchors are not trained.',
    help: 'Take a policy of `model.info.supportedPolicies`.',
    details: ['policy', 'layer'],
  },
  ERR_EMPTY_PROMPT: {
    means: 'There is nothing to read.',
    help: 'Pass text or tokens; white space counts as text.',
    details: [],
  },
  ERR_CONTEXT_OVERFLOW: {
    means: 'The prompt has more tokens than the model has positions.',
    help: 'Shorten it, or choose with the option `overflow` what may be left out.',
    details: ['promptTokens', 'maxNewTokens', 'limit'],
  },
  ERR_OUT_OF_MEMORY: {
    means: 'Weights or request need more memory than is free, by estimate or because an allocation failed.',
    help: 'A smaller budget, another policy, a smaller `dtype`, another device. The model stays usable.',
    details: ['needed', 'free', 'suggestion'],
  },
  ERR_DEVICE: {
    means: 'The device cannot be used.',
    help: '`skimlm doctor` lists devices with reasons; `auto` takes what works.',
    details: ['device', 'reason', 'usable'],
  },
  ERR_DISPOSED: {
    means: 'The model has been disposed of.',
    help: 'Load it again.',
    details: [],
  },
  ERR_BUSY: {
    means: 'More requests wait than `maxQueue` allows.',
    help: 'Try again later, or allow more.',
    details: ['waiting', 'limit'],
  },
  ERR_ALREADY_CONSUMED: {
    means: 'A generation can be read once.',
    help: 'Generate again, or keep the chunks.',
    details: [],
  },
  ERR_NUMERICS: {
    means: 'NaN or infinity where numbers are needed: damaged weights, or a number format too small for the model.',
    help: 'Load with `dtype: "f32"`, or with `verify: true` to find damaged weights.',
    details: ['layer', 'token'],
  },
  ERR_STORAGE: {
    means: 'A file could not be read or written.',
    help: 'Look at permissions and space of the path.',
    details: ['path'],
  },
  ERR_INTERNAL: {
    means: 'A mistake of ours.',
    help: 'Report it, please; load the model again.',
    details: [],
  },
} as const satisfies Record<string, About>

/** The stable names of remarks that do not stop the work; `docs/errors.md` is made from this table too. */
export const warningCodes = {
  W_CALLBACK: 'A callback threw; it is not called any more.',
  W_FALLBACK: 'The scores hardly fell on the text, so the policy read the whole prompt.',
  W_ILL_FORMED: 'Lone surrogates in the input were replaced by U+FFFD; offsets are unchanged.',
  W_MESSAGE_DROPPED: 'The chat template leaves out the content of a message.',
  W_NOT_AHEAD: 'A step could not be recorded, so the GPU decoded token by token.',
  W_POLICY_NOOP: 'The budget holds the whole prompt, so nothing was left out.',
  W_SHORTENED: 'Fewer new tokens fit than `maxNewTokens` asks for.',
  W_TRUNCATED: 'Tokens of the document were left out as `overflow` allows.',
} as const satisfies Record<string, string>
