// The stop target `langgraph` against the real JavaScript LangGraph server, two replicas of it, each
// beside its own agentd.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Client } from '@langchain/langgraph-sdk'
import { startReplica } from './support/replicas.mjs'
import { ask, startStack, until } from './support/stack.mjs'

let stack, replicas
before(async () => {
  stack = await startStack({ agentds: 2 })
  replicas = await Promise.all(stack.agentds.map((agentd) => startReplica('langgraph_server.mjs', agentd)))
})
after(async () => {
  await Promise.all((replicas ?? []).map((replica) => replica.stop()))
  await stack?.stop()
})

/** A run of the graph, once its node has registered it. */
async function begin(replica, input) {
  const client = new Client({ apiUrl: replica.url })
  const { thread_id: thread } = await client.threads.create()
  const { run_id: run } = await client.runs.create(thread, 'agent', { input: { ticks: 500, grace: 1500, ...input } })
  const brake = input.brake === false ? undefined : await until(async () => {
    const { json } = await ask(stack.broker, 'GET', `/v1/runs?thread=${thread}`)
    return json.runs[0]
  })
  return { client, thread, run, brake: brake?.run_id }
}

const node = async (id) => (await ask(stack.broker, 'GET', `/v1/runs/${id}`)).json
const cancel = (id, body = {}) => ask(stack.broker, 'POST', `/v1/runs/${id}/cancel`, { body: { wait: 'stopped', ...body } })

test('a cancel stops the run on whichever replica it is', async () => {
  for (const replica of replicas) {
    const { client, thread, run, brake } = await begin(replica, {})
    const answer = await cancel(brake)
    assert.equal(answer.status, 200)
    assert.equal(answer.json.complete, true)
    const ended = await node(brake)
    assert.equal(ended.state, 'cancelled')
    assert.equal(ended.stop.by, 'notice')
    await until(async () => (await client.runs.get(thread, run)).status === 'interrupted')
  }
})

test('a cancel at the agentd of the other replica stops it', async () => {
  const { brake } = await begin(replicas[0], {})
  const { root } = await node(brake)
  const answer = await ask(stack.agentds[1], 'POST', `/v1/runs/${brake}/cancel`, { body: { root, wait: 'stopped' } })
  assert.equal(answer.json.complete, true, answer.text)
  assert.equal((await node(brake)).state, 'cancelled')
})

test('LangGraph alone: the cancel at the other replica finds nothing, and the run runs on', async () => {
  const { thread, run, brake } = await begin(replicas[0], {})
  const lost = await ask(replicas[1].url, 'POST', `/threads/${thread}/runs/${run}/cancel?wait=0`)
  assert.equal(lost.status, 404)
  assert.equal((await node(brake)).state, 'running')
  assert.equal((await cancel(brake)).json.complete, true)
})

test('rollback is passed on', async () => {
  const { client, thread, run, brake } = await begin(replicas[0], {})
  assert.equal((await cancel(brake, { action: 'rollback' })).json.complete, true)
  await until(async () => (await client.runs.get(thread, run)).status === 'error') // as that server has it
})

test('a node that ignores the signal is unresponsive, and never stopped', async () => {
  const { client, thread, run, brake } = await begin(replicas[1], { stubborn: true, ticks: 250, grace: 700 })
  const answer = await cancel(brake, { timeout_ms: 2500 })
  assert.equal(answer.status, 202)
  assert.equal(answer.json.complete, false)
  assert.deepEqual(answer.json.names.unresponsive, [brake])
  assert.equal(answer.json.counts.stopped, 0)
  const seen = await node(brake)
  assert.equal(seen.state, 'stopping')
  assert.ok(seen.flags.includes('acknowledged') && seen.flags.includes('unresponsive'))
  assert.equal((await client.runs.get(thread, run)).status, 'interrupted') // what LangGraph believes
  const over = await until(async () => { const now = await node(brake); return now.state !== 'stopping' && now })
  assert.equal(over.finished_anyway, 'success')
})

test('a link into another server is cancelled there, whoever carries it', async () => {
  const parent = await ask(stack.agentds[0], 'POST', '/v1/runs', { body: { entry: true } })
  const { run_id: id, token, epoch } = parent.json
  const { client, thread, run } = await begin(replicas[1], { brake: false })
  await until(async () => (await client.runs.get(thread, run)).status === 'running')
  const linked = await ask(stack.agentds[0], 'POST', `/v1/runs/${id}/links`, {
    token, body: { epoch, kind: 'langgraph', url: replicas[1].url, thread_id: thread, run_id: run },
  })
  assert.equal(linked.status, 201, linked.text)
  await ask(stack.agentds[0], 'POST', `/v1/runs/${id}/end`, { token, body: { epoch, state: 'success' } })
  const answer = await cancel(id)
  assert.equal(answer.json.complete, true, answer.text)
  assert.equal(answer.json.counts.links_acknowledged, 1)
  assert.equal((await client.runs.get(thread, run)).status, 'interrupted')
  const tree = (await ask(stack.broker, 'GET', `/v1/roots/${id}/tree`)).json
  assert.deepEqual(tree.links.map(({ kind, to }) => [kind, to]),
    [['langgraph', `${replicas[1].url}/threads/${thread}/runs/${run}`]])
})
