// Three services that OpenTelemetry instruments: the context goes from the first to the last through one
// that knows nothing of it, with the members of others intact; and through what MCP carries.
import assert from 'node:assert/strict'
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { connect } from 'brakewire'
import { fromMcp, parse, toMcp } from 'brakewire/context'

import { ask, startStack, until } from './support/stack.mjs'

let stack
let client
const hops = []
before(async () => {
  stack = await startStack({ agentds: 2 })
  client = connect({ agentd: stack.agentds[0] })
})
after(() => {
  for (const hop of hops) hop.kill()
  client.close()
  return stack.stop()
})

async function hop(role, { next = '', by = 'fetch', agentd = stack.agentds[0], isInstrumented = true } = {}) {
  const here = join(import.meta.dirname, 'support')
  const child = fork(join(here, 'hop.mjs'), {
    execArgv: isInstrumented ? ['--import', join(here, 'otel.mjs')] : [],
    env: { ...process.env, ROLE: role, NEXT: next, BY: by, BRAKEWIRE_AGENTD: agentd, BAGGAGE: '' },
  })
  hops.push(child)
  const said = {}
  child.on('message', (message) => Object.assign(said, message))
  await Promise.race([
    until(() => said.url, { what: `${role} that listens` }),
    once(child, 'exit').then(([code]) => { throw new Error(`${role} ended with ${code}`) }),
  ])
  return said
}

const trace = '0af7651916cd43dd8448eb211c80319c'

for (const [first, second] of [['fetch', 'http'], ['http', 'fetch']]) {
  test(`through a service without a line of ours, by ${first} and by ${second}`, async () => {
    const root = await client.start({ agent: 'user-facing' })
    const c = await hop('last', { agentd: stack.agentds[1] })
    const b = await hop('middle', { next: c.url, by: second })
    const a = await hop('first', { next: b.url, by: first })
    const { status, text } = await ask(a.url, 'GET', '/', {
      headers: { ...root.headers({ baggage: 'userId=alice;tier=gold,session=s%2F1' }), traceparent: `00-${trace}-b7ad6b7169203331-01` },
    })
    assert.equal(status, 200, text)
    const last = JSON.parse(text)
    assert.equal(last.traceparent.split('-')[1], trace, 'it is OpenTelemetry that carried it')
    assert.deepEqual(last.path.slice(0, -1), a.first, 'below the run of the first')
    assert.deepEqual(a.first.slice(0, -1), [root.runId])
    assert.equal(parse(last.baggage).path, a.first.join('.'))
    for (const each of [last.baggage, last.on]) assert.equal(parse(each).others, 'userId=alice;tier=gold,session=s%2F1')

    await ask(stack.broker, 'POST', `/v1/runs/${root.runId}/cancel`, { body: { reason: 'enough' } })
    await until(() => c.told)
    assert.equal(c.told, 'enough')
    await root.end('cancelled')
  })
}

test('what is not instrumented breaks the chain, and a new tree begins', async () => {
  const root = await client.start({ agent: 'user-facing' })
  const c = await hop('last')
  const b = await hop('middle', { next: c.url, isInstrumented: false })
  const a = await hop('first', { next: b.url })
  const { json } = await ask(a.url, 'GET', '/', { headers: root.headers() })
  assert.equal(json.path.length, 1)
  await root.end()
})

test('a run that says nothing of where it belongs is below the request that is served', async () => {
  const root = await client.start({ agent: 'user-facing' })
  const c = await hop('last')
  const b = await hop('middle', { next: `${c.url}/bare`, by: 'http' })
  const { json } = await ask(b.url, 'GET', '/', { headers: root.headers({ baggage: 'userId=alice' }) })
  assert.deepEqual(json.path.slice(0, -1), [root.runId])
  assert.equal(parse(json.on).others, 'userId=alice')
  await root.end()
})

test('what the client says to its agentd is not traced, and carries no context of its own', async () => {
  const seen = []
  const socket = join(stack.folder, 'listens.sock')
  const listens = createServer((request, response) => {
    seen.push(request.headers)
    response.writeHead(503).end()
  }).listen(socket)
  const text = `
    import { context, propagation } from '@opentelemetry/api'
    import { start } from 'brakewire'
    const baggage = propagation.createBaggage({ 'brakewire-ttl': { value: '1' }, userId: { value: 'alice' } })
    await context.with(propagation.setBaggage(context.active(), baggage), () => start({ parent: 'root' }).catch(() => {}))`
  const child = spawn(process.execPath, ['--import', join(import.meta.dirname, 'support/otel.mjs'), '--input-type=module', '-e', text], {
    cwd: import.meta.dirname, env: { ...process.env, BRAKEWIRE_AGENTD: socket }, stdio: ['ignore', 'ignore', 'inherit'],
  })
  const [code] = await once(child, 'close')
  listens.close()
  assert.equal(code, 0)
  assert.ok(seen.length > 0)
  for (const headers of seen) assert.deepEqual([headers.baggage, headers.traceparent], [undefined, undefined])
})

test('MCP carries it in _meta, beside what else is there', async () => {
  const runs = []
  const server = new McpServer({ name: 'tools', version: '1' })
  server.registerTool('search', { description: 'searches' }, async ({ _meta }) => {
    const run = await client.start({ agent: 'tool', baggage: fromMcp({ _meta }) })
    runs.push(run)
    await run.end()
    return { content: [{ type: 'text', text: run.baggage }] }
  })
  const caller = new Client({ name: 'agent', version: '1' })
  const [near, far] = InMemoryTransport.createLinkedPair()
  await Promise.all([server.connect(far), caller.connect(near)])
  const run = await client.start({ agent: 'agent', headers: { baggage: 'userId=alice' } })
  const { content } = await caller.callTool(toMcp(run.baggage, { name: 'search', arguments: {}, _meta: { progressToken: 7 } }))
  assert.deepEqual(runs[0].path, [run.runId, runs[0].runId])
  assert.equal(parse(content[0].text).others, 'userId=alice')
  await run.end()
  await caller.close()
})
