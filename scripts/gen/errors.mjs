/** `docs/errors.md`. */
export function errors(codes, warnings) {
  const row = ([code, { means, help, details }]) =>
    `| \`${code}\` | ${means} | ${help} | ${details.map((name) => `\`${name}\``).join(', ')} |`
  return `<!-- Written by \`npm run gen\` from src/error-codes.ts. -->

# Errors

Every failure is a \`SkimError\` with a stable \`code\`, a \`message\` for people (what happened, the value, the limit, one thing
to do) and \`details\` for machines. What returns no promise (\`generate\`, \`devices\`, \`parsePolicy\`, a tokenizer,
\`kernels\`, a selection) throws at once; every other failure, those of a generation that has begun among them, rejects the
promise or ends the iterator. Work that an \`AbortSignal\` ends rejects with the signal's own reason, not with one of these;
an evaluation resolves with what is done.

| Code | What happened | What helps | In \`details\` |
| --- | --- | --- | --- |
${Object.entries(codes).map(row).join('\n')}

On the command line the exit code is 2 where the command itself is wrong, 130 where it was interrupted and 1 otherwise.
With \`--json\`, stderr gets one line of JSON with \`code\`, \`message\` and \`details\`, except where the flags themselves
cannot be read.

# Warnings

A remark that does not stop the work is a \`Warning\` with a stable \`code\` and a \`message\` in \`result.warnings\`. Where no
result carries it (such as \`select\`, \`loadModel\`, \`evaluate\`), it is a process warning, a \`SkimWarning\` with that \`code\`.

| Code | What happened |
| --- | --- |
${Object.entries(warnings)
  .map(([code, means]) => `| \`${code}\` | ${means} |`)
  .join('\n')}
`
}
