// The A2A face of the broker, asked by the SDKs that people use: 1.0 and 0.3, JSON-RPC and REST.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { TaskState } from '@a2a-js/sdk'
import { ClientFactory, JsonRpcTransportFactory, RestTransportFactory } from '@a2a-js/sdk/client'
import {
  ClientFactory as OldFactory, JsonRpcTransportFactory as OldJsonRpc, RestTransportFactory as OldRest,
} from 'a2a-sdk-0.3/client'
import { ask, startStack, until } from './support/stack.mjs'
import { startRun } from './support/runs.mjs'

const uri = 'https://brakewire.dev/a2a/ext/run-context/v1'
let stack
before(async () => { stack = await startStack({ agentds: 2 }) })
after(() => stack.stop())

const { TASK_STATE_WORKING, TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_INPUT_REQUIRED } = TaskState
const now = { working: TASK_STATE_WORKING, canceled: TASK_STATE_CANCELED, completed: TASK_STATE_COMPLETED, input: TASK_STATE_INPUT_REQUIRED }
const old = { working: 'working', canceled: 'canceled', completed: 'completed', input: 'input-required' }

const factories = { JSONRPC: JsonRpcTransportFactory, 'HTTP+JSON': RestTransportFactory }
const oldFactories = { JSONRPC: OldJsonRpc, 'HTTP+JSON': OldRest }

/** Only the interfaces of one version, so that the client has no choice. */
async function cardFor(version, binding) {
  const card = (await ask(stack.broker, 'GET', '/.well-known/agent-card.json')).json
  const of = (one) => one.protocolVersion === version && one.protocolBinding === binding
  return { ...card, supportedInterfaces: card.supportedInterfaces.filter(of) }
}

const of13 = (version, binding) => async () => new ClientFactory({
  transports: [new factories[binding]({ legacyCompat: { enabled: version === '0.3' } })],
}).createFromAgentCard(await cardFor(version, binding))

const of03 = (binding) => async () => new OldFactory({
  transports: [new oldFactories[binding]()], preferredTransports: [binding],
}).createFromUrl(stack.broker)

/** What an event of either SDK says of the task. */
function eventOf(event) {
  const it = event.payload?.value ?? event
  return { kind: event.payload?.$case ?? event.kind, id: it.taskId ?? it.id, state: it.status.state, last: it.final, ours: it.metadata?.[uri] }
}

const clients = [
  { name: 'SDK 1.3, 1.0, JSON-RPC', open: of13('1.0', 'JSONRPC'), words: now, again: 'task' },
  { name: 'SDK 1.3, 1.0, REST', open: of13('1.0', 'HTTP+JSON'), words: now, again: 'task' },
  { name: 'SDK 1.3, 0.3, JSON-RPC', open: of13('0.3', 'JSONRPC'), words: now, again: 'error' },
  { name: 'SDK 1.3, 0.3, REST', open: of13('0.3', 'HTTP+JSON'), words: now, again: 'error' },
  { name: 'SDK 0.3, JSON-RPC', open: of03('JSONRPC'), words: old, again: 'error' },
  { name: 'SDK 0.3, REST', open: of03('HTTP+JSON'), words: old, again: 'error' },
]

function asks({ name, open, words, again }) {
  describe(name, { concurrency: 1 }, () => {
    let client
    before(async () => { client = await open() })
    const get = (id) => client.getTask({ id })
    const cancel = (id) => client.cancelTask({ id })
    const stateOf = async (id) => (await get(id)).status.state
    // A run that stops when told is canceled in the answer, unless this machine is slower than a2a_wait.
    const stops = async (id) => {
      const began = Date.now()
      const task = await cancel(id)
      if (task.status.state === words.canceled) return task
      assert.ok(Date.now() - began > 1900, 'it has waited')
      return until(async () => {
        const later = await get(id)
        return later.status.state === words.canceled && later
      })
    }
    const notCancelable = /not cancelable|cannot be canceled/i

    test('a task is working, then canceled, and nothing below it is left', async () => {
      const run = await startRun(stack.agentds[0], { thread_id: 'talk-7' })
      const child = await startRun(stack.agentds[1], { root: run.id, parent: run.id })
      const seen = await get(run.id)
      assert.equal(seen.id, run.id)
      assert.equal(seen.contextId, 'talk-7')
      assert.equal(seen.status.state, words.working)
      const [task] = await Promise.all([stops(run.id), run.obey(), child.obey()])
      assert.equal(task.status.state, words.canceled)
      assert.equal(task.metadata[uri].cancel, 'stopped')
      assert.equal(task.metadata[uri].acked, 2)
      assert.equal(await stateOf(run.id), words.canceled)
    })

    test('a second cancel', async () => {
      const run = await startRun(stack.agentds[1])
      await Promise.all([stops(run.id), run.obey()])
      if (again === 'task') assert.equal((await cancel(run.id)).status.state, words.canceled)
      else await assert.rejects(cancel(run.id), notCancelable)
    })

    test('two cancels at once both get the task, and it is told once', async () => {
      const run = await startRun(stack.agentds[0])
      const answers = await Promise.allSettled([stops(run.id), stops(run.id), run.obey()])
      // Of 0.3 the one that comes when the task is canceled already is a second cancel.
      const refused = answers.filter(({ status }) => status === 'rejected')
      assert.ok(refused.length <= (again === 'task' ? 0 : 1))
      for (const { reason } of refused) assert.match(String(reason), notCancelable)
      for (const { value } of answers.slice(0, 2)) if (value) assert.equal(value.status.state, words.canceled)
    })

    test('who does not stop in time is working, and says what is pending', async () => {
      const run = await startRun(stack.agentds[1])
      const child = await startRun(stack.agentds[0], { root: run.id, parent: run.id })
      const [task] = await Promise.all([cancel(run.id), run.obey()])
      assert.equal(task.status.state, words.working)
      assert.equal(task.metadata[uri].cancel, 'requested')
      assert.equal(task.metadata[uri].cancel_id, `${run.id}.${run.id}`)
      assert.ok(task.metadata[uri].pending >= 1)
      await until(async () => {
        const { acked, pending } = (await get(run.id)).metadata[uri]
        return acked === 1 && pending === 1
      })
      await child.end('success')
      await until(async () => await stateOf(run.id) === words.canceled)
    })

    test('a task that has ended is not cancelable', async () => {
      const run = await startRun(stack.agentds[0])
      await run.end('success')
      await assert.rejects(cancel(run.id), notCancelable)
      assert.equal(await stateOf(run.id), words.completed)
    })

    test('an unknown task is not found', async () => {
      await assert.rejects(cancel('nobody-has-seen-this'), /not found/i)
      await assert.rejects(get('an id that no run can have'), /not found/i)
    })

    test('a task is found by the id that its run was registered with, the latest turn of it', async () => {
      const task = `task of ${name}`.replaceAll(/[ ,]+/g, '.')
      const first = await startRun(stack.agentds[0], { aliases: { a2a: task } })
      assert.equal((await get(task)).metadata[uri].run_id, first.id)
      await first.end('paused')
      assert.equal(await stateOf(task), words.input)
      const second = await startRun(stack.agentds[1], { aliases: { a2a: task }, resumed_from: first.id })
      const [canceled] = await Promise.all([stops(task), second.obey()])
      assert.equal(canceled.id, task)
      assert.equal(canceled.status.state, words.canceled)
      assert.equal(canceled.metadata[uri].run_id, second.id)
    })

    test('a task that waits for input is canceled, and does not go on', async () => {
      const task = `waiting of ${name}`.replaceAll(/[ ,]+/g, '.')
      const first = await startRun(stack.agentds[1], { aliases: { a2a: task } })
      await first.end('paused')
      assert.equal((await cancel(task)).status.state, words.canceled)
      const next = await ask(stack.agentds[0], 'POST', '/v1/runs', { body: { aliases: { a2a: task }, resumed_from: first.id } })
      assert.equal(next.json.code, 'cancelled')
      assert.equal(await stateOf(task), words.canceled)
    })

    test('a subscription tells the task, its changes, and ends with it', async () => {
      const run = await startRun(stack.agentds[1])
      const events = []
      let opened
      const open = new Promise((good) => { opened = good })
      const heard = (async () => {
        for await (const event of client.resubscribeTask({ id: run.id })) {
          events.push(eventOf(event))
          opened()
        }
      })()
      await open
      await Promise.all([cancel(run.id), run.obey()])
      await heard
      assert.equal(events[0].kind, 'task')
      assert.equal(events[0].state, words.working)
      const last = events.at(-1)
      assert.match(last.kind, /^status-?update$/i)
      assert.equal(last.id, run.id)
      assert.equal(last.state, words.canceled)
      assert.equal(last.ours.cancel, 'stopped')
    })

    test('who stops listening cancels nothing', async () => {
      const run = await startRun(stack.agentds[0])
      for await (const event of client.resubscribeTask({ id: run.id })) {
        assert.equal(eventOf(event).state, words.working)
        break
      }
      await run.end('success') // would be recorded as cancelled, had anybody cancelled it
      assert.equal(await stateOf(run.id), words.completed)
    })

    test('there is nothing to subscribe to in a task that is over', async () => {
      const run = await startRun(stack.agentds[0])
      await run.end('success')
      const all = async () => {
        const seen = []
        for await (const event of client.resubscribeTask({ id: run.id })) seen.push(eventOf(event))
        return seen
      }
      if (again === 'task') await assert.rejects(all(), /is over/)
      else assert.deepEqual((await all()).map(({ kind, state }) => [kind, state]), [['task', words.completed]])
    })
  })
}

// A cancel that is not obeyed takes its two seconds: all of them at once.
describe('by every client', { concurrency: true }, () => clients.forEach(asks))

test('the card alone leads each SDK here', async () => {
  const run = await startRun(stack.agentds[0])
  for (const base of [stack.broker, new URL('/a2a/', stack.broker).href]) {
    const client = await new ClientFactory().createFromUrl(base)
    assert.equal((await client.getTask({ id: run.id })).status.state, now.working)
    const older = await new OldFactory().createFromUrl(base)
    assert.equal((await older.getTask({ id: run.id })).status.state, old.working)
  }
  await run.end('success')
})

test('the extension is answered when it was asked for', async () => {
  const run = await startRun(stack.agentds[0])
  const body = { jsonrpc: '2.0', id: 1, method: 'GetTask', params: { id: run.id } }
  const asked = (headers) => ask(stack.broker, 'POST', '/a2a', { body, headers })
  const echo = async (headers) => (await asked(headers)).headers
  assert.equal((await echo({ 'a2a-version': '1.0', 'a2a-extensions': `https://other.example/x, ${uri}` }))['a2a-extensions'], uri)
  assert.equal((await echo({ 'x-a2a-extensions': uri }))['x-a2a-extensions'], uri)
  assert.equal((await echo({ 'a2a-version': '1.0' }))['a2a-extensions'], undefined)
  await run.end('success')
})
