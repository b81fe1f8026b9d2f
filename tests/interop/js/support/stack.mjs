// The real thing for a test: `brakectl up` with a private Redis, a broker and agentds in a folder
// of its own; all of it is gone when the test is.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'

export const source = process.env.BW_SOURCE ?? resolve(import.meta.dirname, '../../../..')
export const bin = process.env.BW_BIN ?? join(source, 'build/bin')

/** Start everything, with the default options: `startAgentd` is for others.
 *  → { folder, redis (socket), broker (url), agentds [socket…], stop() } */
export async function startStack({ agentds = 1 } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'bw-'))
  const up = spawn(
    join(bin, 'brakectl'),
    ['--json', 'up', '--any-port', '--agentds', String(agentds), '--dir', folder],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const ended = once(up, 'exit')
  // However this process ends, the stack does not outlive it.
  const kill = () => up.kill('SIGTERM')
  process.once('exit', kill)
  const first = await Promise.race([
    once(createInterface({ input: up.stdout }), 'line').then(([line]) => JSON.parse(line)),
    ended.then(([code]) => { throw new Error(`brakectl up ended with ${code}`) }),
  ])
  return {
    ...first,
    async stop() {
      process.removeListener('exit', kill)
      kill()
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** An agentd beside those of the stack, which may be killed: brakectl ends a stack that loses one.
 *  → { socket, kill() (SIGKILL), stop(), signal(name) }; `socket`: a path to be used again after a kill;
 *  `ready: false`: it has no Redis, and need only answer. */
export async function startAgentd(stack, { socket = join(stack.folder, `own-${++others}.sock`), environment = {}, ready = true } = {}) {
  const program = spawn(
    join(bin, 'brakewire-agentd'),
    [`--redis-url=unix://${stack.redis}`, `--socket=${socket}`, '--replica-prefix=o'],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...environment } },
  )
  let log = ''
  program.stderr.on('data', (text) => { log = (log + text).slice(-10000) })
  const ended = once(program, 'exit')
  program.unref() // a test that failed before its stop() shall end all the same
  program.stderr.unref()
  const end = (signal) => () => {
    program.ref()
    return program.kill(signal) && ended
  }
  process.once('exit', end('SIGKILL'))
  await until(async () => {
    if (program.exitCode !== null) throw new Error(`brakewire-agentd ended with ${program.exitCode}: ${log}`)
    return (await ask(socket, 'GET', ready ? '/readyz' : '/livez').catch(() => undefined))?.status === 200
  }, { what: 'an agentd that answers' })
  return { socket, kill: end('SIGKILL'), stop: end('SIGTERM'), signal: (name) => program.kill(name) }
}
let others = 0

/** One request. `where`: a URL, or the path of a Unix socket. → { status, headers, text, json } */
export function ask(where, method, path, { body, token, headers = {} } = {}) {
  const to = where.startsWith('/') ? { socketPath: where } : new URL(where)
  const target = where.startsWith('/') ? to : { hostname: to.hostname, port: to.port }
  const bytes = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
  return new Promise((good, bad) => {
    const request = http.request(
      {
        ...target, method, path, agent: false,
        headers: {
          ...(bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(bytes) }),
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...headers,
        },
      },
      async (response) => {
        let text = ''
        for await (const chunk of response.setEncoding('utf8')) text += chunk
        let json
        try { json = JSON.parse(text) } catch { /* not everything is */ }
        good({ status: response.statusCode, headers: response.headers, text, json })
      },
    )
    request.on('error', bad)
    request.end(bytes)
  })
}

/** Wait until `look()` answers something true, and answer that; a bounded wait, never for luck. */
export async function until(look, { ms = 20000, what = look.toString() } = {}) {
  const end = Date.now() + ms
  for (;;) {
    const found = await look()
    if (found) return found
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain: ${what}`)
    await new Promise((next) => setTimeout(next, 10))
  }
}
