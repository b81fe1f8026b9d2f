// The stop target `a2a` against agents of the real SDKs, 1.3.0 (A2A 1.0) and 0.3.14 (A2A 0.3), over
// JSON-RPC and REST: two replicas of each behind one task store, each beside its own agentd.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { startReplica } from './support/replicas.mjs'
import { ask, startStack, until } from './support/stack.mjs'

let stack
before(async () => { stack = await startStack({ agentds: 2 }) })
after(() => stack.stop())

const node = async (id) => (await ask(stack.broker, 'GET', `/v1/runs/${id}`)).json
const cancel = (id, body = {}) => ask(stack.broker, 'POST', `/v1/runs/${id}/cancel`, { body: { wait: 'stopped', ...body } })

/** A call as a client of this version and binding makes it: of "message" or "cancel". */
function call(replica, { version, binding }, what, params) {
  const isNew = version === '1.0', headers = isNew ? { 'a2a-version': '1.0' } : {}
  if (isNew && binding === 'rest') {
    const path = what === 'cancel' ? `/tasks/${params.id}:cancel` : '/message:send'
    return ask(replica.url, 'POST', `/replicas/rest${path}`, { headers, body: params })
  }
  const method = { message: ['message/send', 'SendMessage'], cancel: ['tasks/cancel', 'CancelTask'] }[what][Number(isNew)]
  return ask(replica.url, 'POST', '/replicas/rpc', { headers, body: { jsonrpc: '2.0', id: 1, method, params } })
}

/** A task of this replica, and its run, once it is registered. */
async function begin(replica, face, metadata = {}) {
  const messageId = crypto.randomUUID()
  const { json } = await call(replica, face, 'message', face.version === '1.0'
    ? { message: { messageId, role: 'ROLE_USER', parts: [{ text: 'work' }], metadata }, configuration: { returnImmediately: true } }
    : { message: { kind: 'message', messageId, role: 'user', parts: [{ kind: 'text', text: 'work' }], metadata }, configuration: { blocking: false } })
  const task = json.task ?? json.result?.task ?? json.result
  assert.ok(task?.id, JSON.stringify(json))
  const brake = await until(async () => {
    const found = await ask(stack.broker, 'GET', `/v1/runs?label=${encodeURIComponent(`task:${task.id}`)}`)
    return found.json.runs[0]
  })
  return { task: task.id, brake: brake.run_id }
}

const calls = async (replica) => (await ask(replica.url, 'GET', '/calls')).json

for (const [version, binding] of [['1.0', 'jsonrpc'], ['1.0', 'rest'], ['0.3', 'jsonrpc'], ['0.3', 'rest']]) {
  describe(`A2A ${version} over ${binding}`, () => {
    const face = { version, binding }
    let replicas, shared
    before(async () => {
      shared = await mkdtemp(join(tmpdir(), 'bw-'))
      const environment = { SHARED: shared, A2A: version, BINDING: binding }
      replicas = await Promise.all(stack.agentds.map((agentd) => startReplica('a2a_server.mjs', agentd, environment)))
    })
    after(async () => {
      await Promise.all((replicas ?? []).map((replica) => replica.stop()))
      await rm(shared, { recursive: true, force: true })
    })

    test('a cancel stops the task on whichever replica it is', async () => {
      for (const replica of replicas) {
        const { brake } = await begin(replica, face)
        const answer = await cancel(brake)
        assert.equal(answer.json.complete, true, answer.text)
        assert.equal((await node(brake)).state, 'cancelled')
        assert.equal((await node(brake)).stop.by, 'notice')
        assert.equal(await calls(replica), 1)
      }
    })

    test('a cancel at the agentd of the other replica stops it', async () => {
      const { brake } = await begin(replicas[0], face)
      const root = (await node(brake)).root
      const answer = await ask(stack.agentds[1], 'POST', `/v1/runs/${brake}/cancel`, { body: { root, wait: 'stopped' } })
      assert.equal(answer.json.complete, true, answer.text)
      assert.equal((await node(brake)).state, 'cancelled')
    })

    test('A2A alone: the other replica says canceled, the task works on, and Brakewire says so', async () => {
      const { task, brake } = await begin(replicas[0], face, { ticks: 100, grace: 300 })
      const lost = await call(replicas[1], face, 'cancel', { id: task })
      assert.match(lost.text, /cancell?ed/i)
      assert.equal((await node(brake)).state, 'running')
      // The store says canceled by now, so its own replica does not even call the executor.
      const answer = await cancel(brake, { timeout_ms: 1000 })
      assert.deepEqual(answer.json.names.unresponsive, [brake])
      assert.equal(answer.json.counts.stopped, 0)
      await until(async () => (await node(brake)).finished_anyway === 'success')
    })

    test('the endpoint may be given instead of a card', async () => {
      const given = binding === 'rest' ? '/replicas/rest' : '/replicas/rpc'
      const { brake } = await begin(replicas[1], face, { given })
      assert.equal((await cancel(brake)).json.complete, true)
    })

    test('a link to a task is cancelled at the agent that has it', async () => {
      const parent = await ask(stack.agentds[0], 'POST', '/v1/runs', { body: { entry: true } })
      const { run_id: id, token, epoch } = parent.json
      const { task, brake } = await begin(replicas[1], face)
      const linked = await ask(stack.agentds[0], 'POST', `/v1/runs/${id}/links`, {
        token, body: { epoch, kind: 'a2a', url: replicas[1].url, task_id: task },
      })
      assert.equal(linked.status, 201, linked.text)
      await ask(stack.agentds[0], 'POST', `/v1/runs/${id}/end`, { token, body: { epoch, state: 'success' } })
      const answer = await cancel(id)
      assert.equal(answer.json.complete, true, answer.text)
      assert.equal(answer.json.counts.links_acknowledged, 1)
      await until(async () => (await node(brake)).state !== 'running') // its task has ended
    })

    test('an executor that works on is unresponsive, and never stopped', async () => {
      const { brake } = await begin(replicas[0], face, { mode: 'stubborn', ticks: 100, grace: 500 })
      const answer = await cancel(brake, { timeout_ms: 1200 })
      assert.equal(answer.json.complete, false)
      assert.deepEqual(answer.json.names.unresponsive, [brake])
      assert.equal(answer.json.counts.stopped, 0)
      const over = await until(async () => { const now = await node(brake); return now.state !== 'stopping' && now })
      assert.equal(over.finished_anyway, 'success')
    })

    test('a cancel that is never answered is unresponsive', async () => {
      const { brake } = await begin(replicas[0], face, { mode: 'hang', ticks: 100, grace: 300 })
      const answer = await cancel(brake, { timeout_ms: 1000 })
      assert.deepEqual(answer.json.names.unresponsive, [brake])
      await until(async () => (await node(brake)).finished_anyway === 'success')
    })
  })
}
