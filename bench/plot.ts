import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './rounds.js'

/** Bars of one measure, in groups: `values[group][series]`. */
export interface Bars {
  title: string
  groups: readonly string[]
  series: readonly string[]
  values: readonly (readonly number[])[]
  /** Text at the end of a bar. */
  show(value: number): string
}

const width = 760
const labels = 210
const bar = 16
const gap = 14
const colours = ['#8a8f98', '#2f6fde', '#12a594', '#d97706', '#c026d3', '#57606a']

const escaped = (text: string) => text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]!)

/** Writes `bench/results/<name>.svg`. Each group has a scale of its own: lengths differ by more than a plot can show. */
export function plot(name: string, { title, groups, series, values, show }: Bars): void {
  const parts: string[] = [`<text x="0" y="18" font-weight="600">${escaped(title)}</text>`]
  let y = 40
  for (const [g, group] of groups.entries()) {
    const row = values[g]!
    const scale = (width - labels - 110) / Math.max(...row)
    parts.push(`<text x="0" y="${y + 4}" font-weight="600">${escaped(group)}</text>`)
    y += 12
    for (const [s, value] of row.entries()) {
      const length = Math.max(1, value * scale).toFixed(1)
      parts.push(
        `<text x="${labels - 8}" y="${y + 12}" text-anchor="end">${escaped(series[s]!)}</text>`,
        `<rect x="${labels}" y="${y}" width="${length}" height="${bar - 3}" fill="${colours[s % colours.length]}"/>`,
        `<text x="${(labels + Number(length) + 6).toFixed(1)}" y="${y + 12}">${escaped(show(value))}</text>`,
      )
      y += bar
    }
    y += gap + 6
  }
  const style = 'text{font:12px system-ui,sans-serif;fill:#1f2328}@media(prefers-color-scheme:dark){text{fill:#e6edf3}}'
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y}" viewBox="0 0 ${width} ${y}"><style>${style}</style>\n${parts.join('\n')}\n</svg>\n`
  writeFileSync(join(root, 'bench/results', `${name}.svg`), svg)
}
