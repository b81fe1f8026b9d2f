// A protected graph in the real LangGraph server: its invocations are runs, and what the server would
// write after a cancel is not written.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { Client } from '@langchain/langgraph-sdk'
import { connect } from 'brakewire'

import { startReplica } from './support/replicas.mjs'
import { ask, startStack, until } from './support/stack.mjs'

let stack
let replica
let caller
before(async () => {
  stack = await startStack()
  replica = await startReplica('langgraph_server.mjs', stack.agentds[0], {
    GRAPH: 'langgraph_protected.mjs', BRAKEWIRE_AGENTD: stack.agentds[0],
  })
  caller = new Client({ apiUrl: replica.url })
})
after(async () => {
  await replica?.stop()
  await stack.stop()
})

const runOf = (thread) => until(async () => {
  const { json } = await ask(stack.broker, 'GET', `/v1/runs?thread=${thread}`)
  return json.runs[0]
})
const ended = (id) => until(async () => {
  const { json } = await ask(stack.broker, 'GET', `/v1/runs/${id}`)
  return !['running', 'stopping'].includes(json.state) && json
})

test('a run of the server is a run', async () => {
  const { thread_id: thread } = await caller.threads.create()
  const { steps } = await caller.runs.wait(thread, 'agent', { input: { ticks: 1 } })
  assert.deepEqual(steps, ['first', 'second'])
  const run = await ended((await runOf(thread)).run_id)
  assert.deepEqual([run.state, run.agent], ['success', 'protected'])
})

test('a cancel from above reaches it by its context, and nothing is written afterwards', async () => {
  const client = connect({ agentd: stack.agentds[0] })
  const parent = await client.start({ agent: 'supervisor' })
  const { thread_id: thread } = await caller.threads.create()
  await caller.runs.create(thread, 'agent', {
    input: { ticks: 50, stubborn: true }, config: { configurable: { baggage: parent.baggage } },
  })
  const { run_id: id, parent: above } = await runOf(thread)
  assert.equal(above, parent.runId)
  const steps = async () => (await caller.threads.getState(thread)).values.steps
  await until(async () => (await steps())?.length === 1)
  const before = (await caller.threads.getHistory(thread)).length
  await ask(stack.broker, 'POST', `/v1/runs/${parent.runId}/cancel`, { body: { reason: 'enough' } })
  assert.equal((await ended(id)).state, 'cancelled')
  await until(async () => ['error', 'interrupted'].includes((await caller.runs.list(thread))[0].status))
  assert.deepEqual(await steps(), ['first'])
  assert.ok((await caller.threads.getHistory(thread)).length <= before + 1, 'one last checkpoint at most')
  await parent.end('cancelled')
  client.close()
})
