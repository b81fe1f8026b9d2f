// Requests of Express as runs, against real daemons.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { after, before, test } from 'node:test'

import { connect, currentRun } from 'brakewire'
import { brakewire } from 'brakewire/express'
import express from 'express'

import { ask, startStack, until } from './support/stack.mjs'

let stack
let client
const servers = []
before(async () => {
  stack = await startStack()
  client = connect({ agentd: stack.agentds[0] })
})
after(async () => {
  for (const server of servers) server.close().closeAllConnections()
  client.close()
  await stack.stop()
})

const look = async (id) => (await ask(stack.broker, 'GET', `/v1/runs/${id}`)).json
const ended = (id) => until(async () => {
  const run = await look(id)
  return !['running', 'stopping'].includes(run.state) && run
})

async function serve(options, handler) {
  const app = express()
  app.use(brakewire(typeof options === 'function' ? (request) => ({ client, ...options(request) }) : { client, ...options }))
  app.get('/', handler)
  app.use((error, request, response, next) => response.status(error.status ?? 500).json({ code: error.code, next: next.length }))
  const server = app.listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return `http://127.0.0.1:${server.address().port}`
}

/* A request whose client may leave. */
function visit(url, headers = {}) {
  const request = http.get(url, { headers, agent: false })
  request.on('error', () => {})
  return request
}
const gate = () => {
  const made = {}
  made.passed = new Promise((open, fail) => {
    made.open = open
    setTimeout(() => fail(new Error('waited in vain')), 20000).unref()
  })
  made.passed.catch(() => {}) // whoever waits hears of it
  return made
}

test('a request is a run below the one that its baggage names', async () => {
  const parent = await client.start({ agent: 'caller' })
  const url = await serve((request) => ({ agent: 'api', labels: { path: request.path } }), (request, response) => {
    assert.equal(currentRun(), request.brakewire)
    response.json({ id: request.brakewire.runId, on: request.brakewire.headers().baggage })
  })
  const { json } = await ask(url, 'GET', '/', { headers: parent.headers({ baggage: 'userId=alice' }) })
  assert.equal(json.on, `brakewire=1.${parent.runId}.${json.id},userId=alice`)
  const run = await ended(json.id)
  assert.deepEqual([run.state, run.agent, run.labels], ['success', 'api', { path: '/' }])
  await parent.end()
})

test('a broken handler is an error, and a stale context keeps nobody out of an entry', async () => {
  let id
  const url = await serve({ entry: true }, (request) => { id = request.brakewire.runId; throw new Error('broken') })
  const { status } = await ask(url, 'GET', '/', { headers: { baggage: 'brakewire=1.long-gone' } })
  assert.equal(status, 500)
  const run = await ended(id)
  assert.deepEqual([run.state, run.root], ['error', id])
})

test('in a scope that was cancelled a request fails before its handler', async () => {
  const parent = await client.start({ agent: 'caller' })
  await parent.cancel({ reason: 'no more' })
  let wasCalled = false
  const url = await serve({}, (request, response) => { wasCalled = true; response.end() })
  const { status, json } = await ask(url, 'GET', '/', { headers: parent.headers() })
  assert.deepEqual([status, json.code, wasCalled], [409, 'cancelled', false])
  await parent.end('cancelled')
})

test('a cancel aborts the signal of a request, which answers and ends cancelled', async () => {
  const begun = gate()
  const url = await serve({}, async ({ brakewire: run }, response) => {
    begun.open(run)
    await once(run.signal, 'abort')
    response.status(503).end(run.signal.reason.reason)
  })
  const answer = ask(url, 'GET', '/')
  const run = await begun.passed
  await ask(stack.broker, 'POST', `/v1/runs/${run.runId}/cancel`, { body: { reason: 'enough' } })
  assert.equal((await answer).text, 'enough')
  assert.equal((await ended(run.runId)).state, 'cancelled')
})

test('a client that leaves cancels what is below, and the run ends when its handler has', async () => {
  const begun = gate()
  const goes = gate()
  const url = await serve({}, async ({ brakewire: run }, response) => {
    const child = await client.start({ agent: 'below' })
    child.signal.addEventListener('abort', () => child.end('cancelled'))
    begun.open({ run, child })
    await goes.passed
    response.end()
  })
  const request = visit(url)
  const { run, child } = await begun.passed
  request.destroy()
  assert.equal((await ended(child.runId)).state, 'cancelled')
  const { state, cancel } = await look(run.runId)
  assert.deepEqual([state, cancel.reason], ['stopping', 'the client disconnected'])
  goes.open()
  assert.equal((await ended(run.runId)).state, 'cancelled')
})

test('or it goes on, where that is asked for', async () => {
  const begun = gate()
  const goes = gate()
  const url = await serve({ onDisconnect: 'continue' }, async ({ brakewire: run }, response) => {
    response.on('close', () => goes.open())
    begun.open(run)
    await goes.passed
    response.end()
  })
  const request = visit(url)
  const run = await begun.passed
  request.destroy()
  assert.equal((await ended(run.runId)).state, 'success')
  assert.ok(!run.signal.aborted)
})
