import { SkimError } from '../errors.js'
import { Interrupted, request, statusError, unreachable } from './http.js'

const json = 'application/vnd.pypi.simple.v1+json'

/**
 * Where an index (`PIP_INDEX_URL`, else PyPI) has the pure wheel of a requirement `name==version`: the simple repository
 * API, PEP 691, or PEP 503 of indexes that answer with a page.
 */
export async function wheelUrl(requirement: string, signal?: AbortSignal): Promise<string> {
  const [name, version] = requirement.split('==') as [string, string]
  const index = (process.env['PIP_INDEX_URL'] || 'https://pypi.org/simple').replace(/\/+$/, '')
  const page = `${index}/${name.toLowerCase().replaceAll(/[-_.]+/g, '-')}/`
  const response = await request({
    url: page,
    headers: { accept: `${json}, text/html;q=0.1` },
    signal,
    connectMs: 10_000,
  }).catch((error: Error) => {
    throw error instanceof Interrupted ? unreachable(page, error, 1) : error
  })
  if (response.status !== 200) throw await statusError(response, page)
  const file = `${name.replaceAll(/[-_.]+/g, '_')}-${version}-py3-none-any.whl`
  const body = await response.text()
  const address = response.headers.get('content-type')?.startsWith(json)
    ? (JSON.parse(body) as { files: { filename: string; url: string }[] }).files.find((f) => f.filename === file)?.url
    : [...body.matchAll(/href="([^"#]*)/g)].map((match) => match[1]!).find((link) => link.split('/').at(-1) === file)
  if (address === undefined) {
    const details = { url: page, file }
    throw new SkimError('ERR_HUB', `The package index has no ${file} at ${page}.`, details)
  }
  return new URL(address, response.url).href
}
