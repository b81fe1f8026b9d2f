// What clients/js/README.md shows does what it says: each block is run, in a process of its own.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { ask, source, startStack, until } from './support/stack.mjs'

let stack
let server
before(async () => {
  stack = await startStack()
  server = createServer((request, response) => response.end(request.headers.baggage)).listen(0, '127.0.0.1')
  await once(server, 'listening')
})
after(() => {
  server.close()
  return stack.stop()
})

const readme = readFileSync(join(source, 'clients/js/README.md'), 'utf8')
const blocks = [...readme.matchAll(/^```js\n([^]*?)^```$/gm)].map(([, text]) => text)
const used = new Set()

function block(word) {
  const found = blocks.filter((text) => text.includes(word))
  assert.equal(found.length, 1, `one block with '${word}'`)
  used.add(found[0])
  return found[0]
}

async function runs(text, before = '', behind = '') {
  const imports = /^import .*$/gm
  const body = `${(text.match(imports) ?? []).join('\n')}\n${before}\n${text.replace(imports, '')}\n${behind}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', body], {
    cwd: join(source, 'tests/interop/js'), stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, BRAKEWIRE_AGENTD: stack.agentds[0], URL_HERE: `http://127.0.0.1:${server.address().port}/` },
  })
  let out = ''
  let errors = ''
  child.stdout.on('data', (chunk) => { out += chunk })
  child.stderr.on('data', (chunk) => { errors += chunk })
  const [code] = await once(child, 'close')
  assert.equal(code, 0, errors)
  return out.trim()
}
const look = async (id) => (await ask(stack.broker, 'GET', `/v1/runs/${id}`)).json

test('the three lines', async () => {
  const text = block("agent: 'researcher', headers: req.headers")
  assert.equal(text.trim().split('\n').filter((line) => !line.startsWith('//')).length, 3)
  const id = await runs(text, 'const req = { headers: { accept: "*/*" } }', 'console.log(run.runId)')
  const { agent, state } = await look(id)
  assert.deepEqual([agent, state], ['researcher', 'success'])
})

test('a run that ends by itself', async () => {
  const heard = await runs(block('withRun'), 'const url = process.env.URL_HERE', 'console.log(answer)')
  const id = /^brakewire=1\.([^,]+),brakewire-ttl=\d+$/.exec(heard)[1]
  assert.equal((await look(id)).state, 'success')
})

test('a checkpoint is asked for before it is written', async () => {
  const before = 'const step = 7; let saved; const save = async (n) => { saved = n }'
  assert.equal(await runs(block('run.fence('), before, 'console.log(saved)'), '7')
})

test('context without a client', async () => {
  const before = `const req = { headers: { baggage: 'brakewire=1.root.x,brakewire-ttl=5' } }
    const run = { baggage: 'brakewire=1.me' }`
  const out = await runs(block('toMcp'), before, 'console.log(JSON.stringify([path, ttlMs, params]))')
  assert.deepEqual(JSON.parse(out), ['root.x', 5, { name: 'search', arguments: {}, _meta: { baggage: 'brakewire=1.me' } }])
})

test('LangGraph.js', async () => {
  const before = `import { Annotation, START, StateGraph } from '@langchain/langgraph'
    import { SqliteSaver } from '@langchain/langgraph-checkpoint-sqlite'
    import { currentRun } from 'brakewire'
    const input = { done: '' }
    const saver = SqliteSaver.fromConnString(':memory:')
    const builder = new StateGraph(Annotation.Root({ done: Annotation() }))
      .addNode('work', async () => ({ done: currentRun().runId })).addEdge(START, 'work')`
  const { state, thread_id: thread } = await look(await runs(block('fenced(saver)'), before, 'console.log(state.done)'))
  assert.deepEqual([state, thread], ['success', 't-1'])
})

test('Express', async () => {
  const behind = `const server = app.listen(0, '127.0.0.1', async () => {
      const response = await fetch('http://127.0.0.1:' + server.address().port + '/ask', { method: 'POST' })
      console.log(await response.text())
      server.closeAllConnections()
      server.close()
    })`
  const heard = await runs(block('app.use('), 'const url = process.env.URL_HERE', behind)
  const id = /^brakewire=1\.([^,]+)$/.exec(heard)[1]
  await until(async () => (await look(id)).state === 'success')
})

test('A2A', async () => {
  const before = `const work = async (context, bus, run) => console.log(run.runId)
    const bus = { publish() {}, finished() {} }
    const context = { taskId: 't-9', contextId: 'c-9', userMessage: {}, request: {} }`
  const behind = 'await executor.execute(context, bus); console.log(typeof clientConfig.interceptors[0].before)'
  const [id, before2] = (await runs(block('interceptor()'), before, behind)).split('\n')
  assert.equal(before2, 'function')
  assert.equal((await look(id)).thread_id, 'c-9')
})

test('no block is left out', () => {
  assert.equal(used.size, blocks.length)
})
