import { statSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Hit {
  path: string
  range: string | undefined
  ifRange: string | undefined
  authorization: string | undefined
}

export type Answer = (request: IncomingMessage, response: ServerResponse, hit: Hit) => void

/** A loopback hub: answers as told, remembers what it was asked. */
export async function startHub(answer: Answer) {
  const hits: Hit[] = []
  const server = createServer((request, response) => {
    const { range, authorization } = request.headers
    const hit = {
      path: request.url ?? '',
      range,
      ifRange: request.headers['if-range'] as string | undefined,
      authorization,
    }
    hits.push(hit)
    answer(request, response, hit)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const close = () => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  }
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, hits, close }
}

export interface Served {
  etag?: string
  /** Close the connection after `bytes` of body, once they lie in the file `seenIn`: what is in flight may be lost. */
  drop?: { bytes: number; seenIn: string }
  /** Ignore Range, as simple servers do. */
  whole?: boolean
}

/** Serves `body` by the rules of HTTP ranges. */
export function serve(body: Buffer, request: IncomingMessage, response: ServerResponse, served: Served = {}) {
  const { etag, drop, whole } = served
  const asked = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')
  const fresh = request.headers['if-range'] === undefined || request.headers['if-range'] === etag
  const from = asked && fresh && !whole ? Number(asked[1]) : 0
  if (from >= body.length && from > 0) {
    response.writeHead(416, { 'content-range': `bytes */${body.length}` }).end()
    return
  }
  const headers: Record<string, string | number> = { 'content-length': body.length - from }
  if (etag) headers['etag'] = etag
  if (from > 0) headers['content-range'] = `bytes ${from}-${body.length - 1}/${body.length}`
  response.writeHead(from > 0 ? 206 : 200, headers)
  if (drop === undefined || from + drop.bytes >= body.length) return void response.end(body.subarray(from))
  const until = from + drop.bytes
  response.write(body.subarray(from, until))
  const look = setInterval(() => {
    if ((statSync(drop.seenIn, { throwIfNoEntry: false })?.size ?? 0) >= until) response.destroy()
  }, 5)
  response.on('close', () => clearInterval(look))
}
