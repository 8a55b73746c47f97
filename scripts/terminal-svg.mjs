// Draws what a terminal shows: ANSI text on stdin, an SVG on stdout. The argument is the command line shown on top.
//   COLUMNS=100 FORCE_COLOR=1 skimlm ask ... 2>&1 | node scripts/terminal-svg.mjs 'skimlm ask ...' [lines] > docs/ask.svg
// Where there are more than `lines` lines, those in the middle are left out, and a line says so.
import { text } from 'node:stream/consumers'

const size = { font: 14, line: 19, char: 8.43, pad: 16 }
const plain = { bold: false, dim: false, color: '#d7dae0' }
const colors = { 31: '#f07178', 32: '#a5d46a', 33: '#e6c07b', 34: '#6cb6ff', 35: '#c792ea', 36: '#7fdbca' }

const [command = '', limit = '32'] = process.argv.slice(2)
const input = (await text(process.stdin)).trimEnd().split('\n')
const lines = [...wrap(`\x1b[32m$\x1b[0m ${command}`), '', ...shorten(input, Number(limit))].map(parse)
process.stdout.write(draw(lines))

function shorten(all, most) {
  if (all.length <= most) return all
  const head = Math.ceil((most - 1) * 0.6)
  const tail = most - 1 - head
  return [...all.slice(0, head), `\x1b[2m   (${all.length - head - tail} more lines)\x1b[0m`, ...all.slice(-tail)]
}

/** A long command goes on in the next line, as a shell would have it; a word that is longer than a line stays whole. */
function wrap(line, width = 100) {
  const indent = /^ */.exec(line)[0].length
  const fits = line.lastIndexOf(' ', width)
  const at = fits >= indent && fits > 0 ? fits : line.indexOf(' ', indent)
  if (line.length <= width || at < 0) return [line]
  return [`${line.slice(0, at)} \\`, ...wrap(`    ${line.slice(at + 1)}`, width)]
}

/** Runs of text with one style each. */
function parse(line) {
  const runs = []
  let style = plain
  for (const [, codes, chars] of line.matchAll(/(?:\x1b\[([\d;]*)m)|([^\x1b]+)/g)) {
    if (chars !== undefined) runs.push({ ...style, chars })
    else for (const code of codes.split(';').map(Number)) style = next(style, code)
  }
  return runs
}

function next(style, code) {
  if (code === 0) return plain
  if (code === 1) return { ...style, bold: true }
  if (code === 2) return { ...style, dim: true }
  if (code === 22) return { ...style, bold: false, dim: false }
  if (code === 39) return { ...style, color: plain.color }
  return colors[code] ? { ...style, color: colors[code] } : style
}

function draw(all) {
  const length = (runs) => runs.reduce((sum, { chars }) => sum + [...chars].length, 0)
  const width = Math.ceil(Math.max(...all.map(length)) * size.char + 2 * size.pad)
  const height = all.length * size.line + 2 * size.pad
  const rows = all.map((runs, i) => {
    const y = size.pad + (i + 0.75) * size.line
    return `<text x="${size.pad}" y="${y}" xml:space="preserve">${runs.map(span).join('')}</text>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="${size.font}">
<rect width="100%" height="100%" rx="8" fill="#16191f"/>
${rows.join('\n')}
</svg>
`
}

function span({ bold, dim, color, chars }) {
  const fill = bold && color === plain.color ? '#ffd479' : color
  return `<tspan fill="${fill}"${bold ? ' font-weight="bold"' : ''}${dim ? ' opacity="0.55"' : ''}>${escape(chars)}</tspan>`
}

function escape(chars) {
  return chars.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
