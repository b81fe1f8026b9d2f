// Executors of the A2A SDKs (1.3 speaks 1.0, 0.3.14 speaks 0.3) whose tasks are runs, and their clients,
// which carry the context, against real daemons.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'

import { AgentEvent, DefaultExecutionEventBus as BusOfNew, DefaultRequestHandler as HandlerOfNew, InMemoryTaskStore as StoreOfNew } from '@a2a-js/sdk/server'
import { jsonRpcHandler as rpcOfNew, UserBuilder as UserOfNew, agentCardHandler as cardOfNew } from '@a2a-js/sdk/server/express'
import { ClientFactory as ClientsOfNew, ClientFactoryOptions as OptionsOfNew } from '@a2a-js/sdk/client'
import { TaskState } from '@a2a-js/sdk'
import { DefaultExecutionEventBus as BusOfOld, DefaultRequestHandler as HandlerOfOld, InMemoryTaskStore as StoreOfOld } from 'a2a-sdk-0.3/server'
import { jsonRpcHandler as rpcOfOld, UserBuilder as UserOfOld, agentCardHandler as cardOfOld } from 'a2a-sdk-0.3/server/express'
import { ClientFactory as ClientsOfOld, ClientFactoryOptions as OptionsOfOld } from 'a2a-sdk-0.3/client'
import { connect, currentRun } from 'brakewire'
import { A2A_EXTENSION, interceptor, protect } from 'brakewire/a2a'
import express from 'express'

import { ask, startStack, until } from './support/stack.mjs'

let stack
let client
const servers = []
before(async () => {
  stack = await startStack({ agentds: 2 })
  client = connect({ agentd: stack.agentds[0] })
})
after(async () => {
  for (const server of servers) server.close().closeAllConnections()
  client.close()
  await stack.stop()
})

const look = async (id) => (await ask(stack.broker, 'GET', `/v1/runs/${id}`)).json
const cancel = (id, body = {}) => ask(stack.broker, 'POST', `/v1/runs/${id}/cancel`, { body })
const ended = (id) => until(async () => {
  const run = await look(id)
  return !['running', 'stopping'].includes(run.state) && run
})
const gate = () => {
  const made = {}
  made.passed = new Promise((open, fail) => {
    made.open = open
    setTimeout(() => fail(new Error('waited in vain')), 20000).unref()
  })
  made.passed.catch(() => {}) // whoever waits hears of it
  return made
}

const common = {
  name: 'worker', description: 'works', version: '1', defaultInputModes: ['text'], defaultOutputModes: ['text'],
  skills: [{ id: 'w', name: 'w', description: 'w', tags: [] }],
  capabilities: { streaming: true, pushNotifications: false, extensions: [{ uri: A2A_EXTENSION, required: false }] },
}

const versions = {
  '1.0': {
    card: (url) => ({ ...common, supportedInterfaces: [{ url: `${url}/rpc`, protocolBinding: 'JSONRPC', protocolVersion: '1.0', tenant: '' }] }),
    Bus: BusOfNew, Handler: HandlerOfNew, Store: StoreOfNew, rpc: rpcOfNew, user: UserOfNew, cardHandler: cardOfNew, Clients: ClientsOfNew, Options: OptionsOfNew,
    begin: ({ taskId: id, contextId }) => AgentEvent.task({ id, contextId, status: { state: TaskState.TASK_STATE_WORKING }, artifacts: [], history: [], metadata: {} }),
    say: ({ taskId, contextId }, word) => AgentEvent.statusUpdate({ taskId, contextId, status: { state: TaskState[`TASK_STATE_${word.toUpperCase().replace('-', '_')}`] }, metadata: {} }),
    message: (more = {}) => ({ message: { messageId: crypto.randomUUID(), role: 1, parts: [{ content: { $case: 'text', value: 'go' } }], extensions: [], referenceTaskIds: [], ...more } }),
    stateOf: ({ status }) => TaskState[status.state].replace('TASK_STATE_', '').toLowerCase().replace('_', '-'),
    eventOf: ({ payload }) => payload.value,
  },
  '0.3': {
    card: (url) => ({ ...common, protocolVersion: '0.3.0', url: `${url}/rpc`, preferredTransport: 'JSONRPC' }),
    Bus: BusOfOld, Handler: HandlerOfOld, Store: StoreOfOld, rpc: rpcOfOld, user: UserOfOld, cardHandler: cardOfOld, Clients: ClientsOfOld, Options: OptionsOfOld,
    begin: ({ taskId: id, contextId }) => ({ kind: 'task', id, contextId, status: { state: 'working' } }),
    say: ({ taskId, contextId }, state) => ({ kind: 'status-update', taskId, contextId, status: { state }, final: state !== 'working' }),
    message: (more = {}) => ({ message: { kind: 'message', messageId: crypto.randomUUID(), role: 'user', parts: [{ kind: 'text', text: 'go' }], ...more } }),
    stateOf: ({ status }) => status.state,
    eventOf: (event) => event,
  },
}

/* An agent over HTTP, and a client of it. */
async function agent(a2a, execute, { interceptors = [], cancelTask } = {}) {
  const app = express()
  const server = app.listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  const url = `http://127.0.0.1:${server.address().port}`
  const seen = { headers: [] }
  const executor = protect({ execute, cancelTask }, { client, agent: 'worker' })
  const requestHandler = new a2a.Handler(a2a.card(url), new a2a.Store(), executor)
  app.use((request, response, next) => { seen.headers.push(request.headers); next() })
  app.use('/.well-known/agent-card.json', a2a.cardHandler({ agentCardProvider: requestHandler }))
  app.use('/rpc', a2a.rpc({ requestHandler, userBuilder: a2a.user.noAuthentication }))
  const factory = new a2a.Clients(a2a.Options.createFrom(a2a.Options.default, { clientConfig: { interceptors } }))
  return { caller: await factory.createFromUrl(url), seen }
}

/* Sends and reads to the end: the states that came. */
async function send(a2a, caller, more) {
  const states = []
  let id, last
  for await (const event of caller.sendMessageStream(a2a.message(more))) {
    const value = a2a.eventOf(event)
    id ??= value.id ?? value.taskId
    last = value
    if (value.status !== undefined) states.push(a2a.stateOf(value))
  }
  return { id, states, last }
}

const aborted = (run) => run.signal.aborted || once(run.signal, 'abort')

for (const [version, a2a] of Object.entries(versions)) {
  test(`${version}: a task is a run below the sender's, and ends as it`, async () => {
    let seen
    const { caller } = await agent(a2a, async (context, bus, run) => {
      assert.equal(currentRun(), run)
      seen = run
      bus.publish(a2a.begin(context))
      bus.publish(a2a.say(context, 'completed'))
      bus.finished()
    }, { interceptors: [interceptor()] })
    const { parent, states, id } = await client.withRun({ agent: 'caller' }, async (run) => ({ parent: run, ...(await send(a2a, caller)) }))
    assert.deepEqual(states.at(-1), 'completed')
    assert.deepEqual(seen.path, [parent.runId, seen.runId])
    const run = await ended(seen.runId)
    assert.deepEqual([run.state, run.agent], ['success', 'worker'])
    const { json: task } = await ask(stack.broker, 'GET', `/tasks/${id}`, { headers: { 'a2a-version': '1.0' } })
    assert.equal(task.status.state, 'TASK_STATE_COMPLETED', 'the broker knows it by its id')
  })

  test(`${version}: the context is in the message alone, too`, async () => {
    let seen
    const { caller, seen: { headers } } = await agent(a2a, async (context, bus, run) => {
      seen = run
      bus.publish(a2a.begin(context))
      bus.publish(a2a.say(context, 'completed'))
      bus.finished()
    })
    const parent = await client.start({ agent: 'caller' })
    const { message } = a2a.message()
    const { withContext } = await import('brakewire/a2a')
    await send(a2a, caller, withContext(message, parent))
    assert.ok(headers.every((each) => each.baggage === undefined))
    assert.equal(seen.path[0], parent.runId)
    await parent.end()
  })

  test(`${version}: a cancel from above ends the task canceled when it has stopped, and not before`, async () => {
    const begun = gate()
    const goes = gate()
    const { caller } = await agent(a2a, async (context, bus, run) => {
      bus.publish(a2a.begin(context))
      begun.open(run)
      await aborted(run)
      await goes.passed
    }, { interceptors: [interceptor()] })
    const parent = await client.start({ agent: 'caller' })
    const sent = client.withRun({ parent }, () => send(a2a, caller))
    const run = await begun.passed
    await cancel(parent.runId, { reason: 'enough' })
    await aborted(run)
    assert.equal(run.signal.reason.reason, 'enough')
    let isOver = false
    sent.then(() => { isOver = true })
    await until(async () => (await look(run.runId)).flags.includes('acknowledged'))
    assert.ok(!isOver)
    goes.open()
    assert.equal((await sent).states.at(-1), 'canceled')
    assert.equal((await ended(run.runId)).state, 'cancelled')
    await parent.end('cancelled')
  })

  test(`${version}: a client's cancel of the task is answered when all below it has stopped`, async () => {
    const begun = gate()
    const { caller } = await agent(a2a, async (context, bus, run) => {
      bus.publish(a2a.begin(context))
      begun.open({ id: context.taskId, run, child: await client.start({ agent: 'below' }) })
      await aborted(run)
      throw run.signal.reason
    })
    const sent = send(a2a, caller)
    const { id, run, child } = await begun.passed
    let isAnswered = false
    const answer = caller.cancelTask({ id }).then((task) => { isAnswered = true; return task })
    assert.equal((await ended(run.runId)).state, 'cancelled')
    await aborted(child)
    assert.ok(!isAnswered, 'what is below still works')
    await child.end('cancelled')
    assert.equal(a2a.stateOf(await answer), 'canceled')
    const { states, last } = await sent
    assert.equal(states.at(-1), 'canceled')
    const { cancel: word, cancel_id: cancelId, pending, run_id: runId } = last.metadata[A2A_EXTENSION]
    assert.deepEqual([word, cancelId, pending, runId], ['stopped', `${run.root}.${run.runId}`, 0, run.runId])
  })

  test(`${version}: what is said after the end is not published`, async () => {
    const context = { taskId: crypto.randomUUID(), contextId: 'c', userMessage: {}, ...(version === '1.0' ? { request: {} } : {}) }
    const bus = new a2a.Bus()
    const events = []
    bus.on('event', (event) => events.push(a2a.stateOf(event.data ?? event)))
    const executor = protect({
      async execute(_, said, run) {
        said.publish(a2a.begin(context))
        await run.cancel({ reason: 'enough' })
        await aborted(run)
        said.publish(a2a.say(context, 'completed'))
        said.publish(a2a.say(context, 'working'))
      },
    }, { client })
    await executor.execute(context, bus)
    assert.deepEqual(events, ['working', 'completed'], 'it was done all the same, and is not canceled')
  })

  test(`${version}: a task that waits for its user is paused, and its next turn a run of its own`, async () => {
    const runs = []
    const { caller } = await agent(a2a, async (context, bus, run) => {
      runs.push(run)
      bus.publish(a2a.begin(context))
      bus.publish(a2a.say(context, runs.length === 1 ? 'input-required' : 'completed'))
      bus.finished()
    })
    const { id } = await send(a2a, caller)
    assert.equal((await ended(runs[0].runId)).state, 'paused')
    const { contextId } = await caller.getTask({ id })
    await send(a2a, caller, { taskId: id, contextId })
    assert.equal((await ended(runs[1].runId)).state, 'success')
    assert.notEqual(runs[1].runId, runs[0].runId)
  })

  test(`${version}: in a scope that was cancelled a task is canceled before it begins`, async () => {
    const parent = await client.start({ agent: 'caller' })
    await parent.cancel()
    let wasCalled = false
    const { caller } = await agent(a2a, async () => { wasCalled = true }, { interceptors: [interceptor(parent)] })
    assert.deepEqual((await send(a2a, caller)).states, ['canceled'])
    assert.ok(!wasCalled)
    await parent.end('cancelled')
  })

  test(`${version}: an executor that breaks is an error`, async () => {
    const log = console.error
    console.error = () => {}
    let seen
    const { caller } = await agent(a2a, async (context, bus, run) => {
      seen = run
      bus.publish(a2a.begin(context))
      throw new Error('broken')
    })
    const { states } = await send(a2a, caller)
    console.error = log
    assert.equal(states.at(-1), 'failed')
    assert.equal((await ended(seen.runId)).state, 'error')
  })
}
