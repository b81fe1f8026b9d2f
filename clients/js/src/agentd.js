/* One agentd: where it is, calls to it, its event stream. Knows HTTP and nothing of runs.
 *
 * Nothing in here keeps the process alive but a call that waits for its answer. */
import { existsSync } from 'node:fs'
import http from 'node:http'
import { posix } from 'node:path'

import { unobserved } from './current.js'

const CALLS_AT_ONCE = 32
/* It answers at once, or when it has given up on a Redis that hangs (two PINGs of 3 s). */
const CALL_MS = 15_000
const BUSY_TRIES = 100
const ANSWER_MAX_BYTES = 64 * 1024 * 1024
const EVENT_MAX_CHARS = 64 * 1024
/* An agentd says something every `sse_heartbeat` (15 s): one that says nothing for so long is gone. */
const SILENCE_MS = 60_000

/* $BRAKEWIRE_AGENTD, else the system's agentd, or else the user's own: as brakectl finds it. */
export function findAgentd(env = process.env) {
  if (env.BRAKEWIRE_AGENTD) return env.BRAKEWIRE_AGENTD
  const systemWide = '/run/brakewire/agentd.sock'
  if (!env.XDG_RUNTIME_DIR || existsSync(systemWide)) return systemWide
  return posix.join(env.XDG_RUNTIME_DIR, 'brakewire/agentd.sock')
}

/* A path, unix:PATH, or http://HOST:PORT -> what http.request() wants. */
export function addressOf(where) {
  if (/^https?:/.test(where)) {
    const url = new URL(where)
    if (url.protocol !== 'http:') throw new TypeError(`agentd: '${where}' is neither a socket's path nor http://HOST:PORT`)
    return { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 80) }
  }
  return { socketPath: where.replace(/^unix:/, '') }
}

/* The connection could not be made (nothing has happened), or it broke (something may have). */
export class Unreachable extends Error {
  constructor(cause, hadConnection) {
    super(cause.message, { cause })
    this.name = 'Unreachable'
    this.code = cause.code
    this.hadConnection = hadConnection
  }
}

class Silence extends Error {}

export class Agentd {
  #find
  #token
  #timeoutMs
  #sockets = new http.Agent({ keepAlive: true, maxSockets: CALLS_AT_ONCE })

  /* where: as findAgentd() answers; undefined: looked for anew at each connection. */
  constructor({ where, token, timeoutMs = CALL_MS }) {
    this.#find = where === undefined ? () => findAgentd() : () => where
    this.#token = token
    this.#timeoutMs = timeoutMs
    addressOf(this.where)
  }

  get where() {
    return this.#find()
  }

  #request(method, path, headers, agent) {
    const named = { host: 'localhost', authorization: `Bearer ${this.#token}`, ...headers }
    return unobserved(() => http.request({ ...addressOf(this.where), method, path, agent, headers: named }))
  }

  /* -> { status, json, retryAfterMs }; throws Unreachable. waitMs: what the call itself waits for. */
  async call(method, path, body, { headers, waitMs = 0 } = {}) {
    for (let tries = 0; ; tries++) {
      try {
        return await this.#once(method, path, body, headers, this.#timeoutMs + waitMs)
      } catch (error) {
        /* It was closed for being idle, just as we took it up again. */
        if (tries === 0 && error.wasIdle) continue
        /* It has as many connections to accept as it may, and will. */
        if (error.code !== 'EAGAIN' || tries > BUSY_TRIES) throw error
        await new Promise((done) => setTimeout(done, Math.random() * 20))
      }
    }
  }

  #once(method, path, body, headers, timeoutMs) {
    return new Promise((resolve, reject) => {
      const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
      const about = bytes && { 'content-type': 'application/json', 'content-length': bytes.length }
      const request = this.#request(method, path, { ...about, ...headers }, this.#sockets)
      let hadConnection = false
      const timer = setTimeout(() => request.destroy(new Silence(`no answer within ${timeoutMs} ms`)), timeoutMs)
      const fail = (cause) => {
        clearTimeout(timer)
        const error = new Unreachable(cause, hadConnection)
        error.isSilence = cause instanceof Silence
        error.wasIdle = request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(cause.code)
        reject(error)
      }
      request.on('socket', (socket) => {
        if (!socket.connecting) hadConnection = true
        else socket.once('connect', () => (hadConnection = true))
      })
      request.on('error', fail)
      request.on('response', (response) => {
        const chunks = []
        let length = 0
        response.on('data', (chunk) => {
          length += chunk.length
          if (length > ANSWER_MAX_BYTES) response.destroy(new Error('the answer is too large'))
          else chunks.push(chunk)
        })
        response.on('error', fail)
        response.on('end', () => {
          clearTimeout(timer)
          resolve(answerOf(response, Buffer.concat(chunks)))
        })
      })
      request.end(bytes)
    })
  }

  /* Opens the event stream. Resolves when the agentd has accepted it, with { closed, close() };
   * `closed` resolves when it is over. on.event(name, data) for each event. */
  listen(on) {
    return new Promise((resolve, reject) => {
      const request = this.#request('GET', '/v1/events', { accept: 'text/event-stream' }, false)
      const quiet = setTimeout(() => request.destroy(new Error('no answer')), SILENCE_MS).unref()
      let hadConnection = false
      request.on('socket', (socket) => {
        socket.unref()
        socket.once('connect', () => (hadConnection = true))
      })
      request.on('error', (cause) => {
        clearTimeout(quiet)
        reject(new Unreachable(cause, hadConnection))
      })
      request.on('response', (response) => {
        if (response.statusCode !== 200) {
          request.destroy()
          const error = new Error(`GET /v1/events: HTTP ${response.statusCode}`)
          return reject(new Unreachable(error, true))
        }
        const feed = eventReader(on.event)
        response.setEncoding('utf8')
        response.on('data', (text) => {
          quiet.refresh()
          if (!feed(text)) request.destroy()
        })
        response.on('error', () => {})
        const closed = new Promise((done) => response.on('close', done))
        closed.then(() => clearTimeout(quiet))
        resolve({ closed, close: () => request.destroy() })
      })
      request.end()
    })
  }

  close() {
    this.#sockets.destroy()
  }
}

function answerOf(response, bytes) {
  let json
  try {
    json = bytes.length > 0 ? JSON.parse(bytes.toString('utf8')) : undefined
  } catch {
    json = undefined // not an agentd, or one that was cut off: the status says enough
  }
  const seconds = Number(response.headers['retry-after'])
  return { status: response.statusCode, json, retryAfterMs: seconds > 0 ? seconds * 1000 : undefined }
}

/* Server-sent events -> on(name, data). The function it answers takes text as it comes and is false
 * when an event is longer than any of an agentd's. */
export function eventReader(on) {
  let rest = ''
  let name = ''
  let data = ''
  const take = (line) => {
    if (line === '') {
      if (data !== '') on(name || 'message', data)
      name = data = ''
    } else if (line.startsWith('event:')) {
      name = line.slice(6).trim()
    } else if (line.startsWith('data:')) {
      data += (data === '' ? '' : '\n') + line.slice(5).replace(/^ /, '')
    }
  }
  return (text) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()
    for (const line of lines) take(line.endsWith('\r') ? line.slice(0, -1) : line)
    return rest.length + data.length <= EVENT_MAX_CHARS
  }
}
