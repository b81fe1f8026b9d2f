// One replica: an agent of the A2A SDK (1.3.0 speaks 1.0, 0.3.14 speaks 0.3) in a process of its
// own, over a task store that all replicas share. Its task works for `ticks` times 20 ms, or what
// the metadata of the message says: `mode` obey (a cancel ends it at the next tick), stubborn (the
// cancel is held until it has done its work), hang (no cancel is ever answered). It registers its
// task with the agentd beside it. Its card names an address that is not this replica's.
import express from 'express'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { ask } from './stack.mjs'

process.once('disconnect', () => process.exit(0)) // its test has gone
const { AGENTD: agentd, SHARED: shared, A2A: version, BINDING: binding } = process.env
const isNew = version === '1.0'
const { DefaultRequestHandler } = await (isNew ? import('@a2a-js/sdk/server') : import('a2a-sdk-0.3/server'))
const { agentCardHandler, jsonRpcHandler, restHandler, UserBuilder } =
  await (isNew ? import('@a2a-js/sdk/server/express') : import('a2a-sdk-0.3/server/express'))
const { AgentEvent } = isNew ? await import('@a2a-js/sdk/server') : {}
const { TaskState } = isNew ? await import('@a2a-js/sdk') : {}

const store = {
  save: (task) => writeFile(join(shared, task.id), JSON.stringify(task)),
  load: async (id) => { try { return JSON.parse(await readFile(join(shared, id), 'utf8')) } catch { return undefined } },
}

const say = (bus, { id: taskId, contextId }, word, final) => bus.publish(isNew
  ? AgentEvent.statusUpdate({ taskId, contextId, status: { state: TaskState[`TASK_STATE_${word.toUpperCase()}`], timestamp: new Date().toISOString() } })
  : { kind: 'status-update', taskId, contextId, status: { state: word, timestamp: new Date().toISOString() }, final })

const begin = (bus, { id, contextId }) => bus.publish(isNew
  ? AgentEvent.task({ id, contextId, status: { state: TaskState.TASK_STATE_WORKING }, artifacts: [], history: [] })
  : { kind: 'task', id, contextId, status: { state: 'working' } })

const cancelled = new Set()
let calls = 0 // of cancelTask, on this replica

async function register(task, { grace, given }) {
  const { status, json } = await ask(agentd, 'POST', '/v1/runs', {
    body: {
      agent: 'worker', entry: true, labels: { task: task.id },
      stop: [{ kind: 'http', preset: 'a2a', url: given === undefined ? globalThis.ownUrl : `${globalThis.ownUrl}${given}`,
        task_id: task.id, grace_ms: grace, ...(given === undefined ? {} : { version, binding }) }],
    },
  })
  if (status !== 201) throw new Error(`no run: ${JSON.stringify(json)}`)
  return json
}

const executor = {
  async execute(context, bus) {
    const task = { id: context.taskId, contextId: context.contextId }
    const { ticks = 500, mode = 'obey', grace = 1500, given } = context.userMessage.metadata ?? {}
    task.mode = mode
    modes.set(task.id, mode)
    const run = await register(task, { grace, given })
    begin(bus, task)
    let done = 0
    while (done < ticks && (mode !== 'obey' || !cancelled.has(task.id))) {
      await pause(20)
      done++
    }
    say(bus, task, done === ticks ? 'completed' : 'canceled', true)
    bus.finished()
    const end = (state) => ask(agentd, 'POST', `/v1/runs/${run.run_id}/end`, { token: run.token, body: { epoch: run.epoch, state } })
    const { status } = await end(done === ticks ? 'success' : 'cancelled')
    if (status === 409) await end('error') // nobody cancelled it here
  },
  async cancelTask(id) {
    calls++
    cancelled.add(id)
    if (modes.get(id) === 'hang') await new Promise(() => {})
  },
}
const modes = new Map()

const app = express()
const server = app.listen(0, '127.0.0.1', () => {
  globalThis.ownUrl = `http://127.0.0.1:${server.address().port}`
  process.send({ url: globalThis.ownUrl })
})
const world = 'https://agents.example/replicas' // one address for all of them
const common = {
  name: 'worker', description: 'works', version: '1', defaultInputModes: ['text'], defaultOutputModes: ['text'],
  capabilities: { streaming: true, pushNotifications: false }, skills: [{ id: 'w', name: 'w', description: 'w', tags: [] }],
}
const rpc = `${world}/rpc`, rest = `${world}/rest`
const card = isNew
  ? { ...common, supportedInterfaces: binding === 'rest'
    ? [{ url: rest, protocolBinding: 'HTTP+JSON', protocolVersion: '1.0', tenant: '' }]
    : [{ url: rest, protocolBinding: 'HTTP+JSON', protocolVersion: '1.0', tenant: '' }, { url: rpc, protocolBinding: 'JSONRPC', protocolVersion: '1.0', tenant: '' }] }
  : { ...common, protocolVersion: '0.3.0', ...(binding === 'rest' ? { url: rest, preferredTransport: 'HTTP+JSON' } : { url: rpc, preferredTransport: 'JSONRPC' }) }
const requestHandler = new DefaultRequestHandler(card, store, executor)
app.get('/calls', (request, response) => response.json(calls))
app.use('/.well-known/agent-card.json', agentCardHandler({ agentCardProvider: requestHandler }))
app.use('/replicas/rpc', jsonRpcHandler({ requestHandler, userBuilder: UserBuilder.noAuthentication }))
app.use('/replicas/rest', restHandler({ requestHandler, userBuilder: UserBuilder.noAuthentication }))
