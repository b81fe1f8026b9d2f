// What CANCELED of a task says about what is below it: in its tree, and in those that its links lead to.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { after, before, test } from 'node:test'
import { ask, startStack, until } from './support/stack.mjs'
import { startRun } from './support/runs.mjs'

const uri = 'https://brakewire.dev/a2a/ext/run-context/v1'
const headers = { 'a2a-version': '1.0' }
let stack
before(async () => { stack = await startStack({ agentds: 2 }) })
after(() => stack.stop())

const get = async (id) => (await ask(stack.broker, 'GET', `/tasks/${id}`, { headers })).json
const cancel = async (id) => (await ask(stack.broker, 'POST', `/tasks/${id}:cancel`, { headers })).json
// Its answer, or what becomes of it on a machine that is slower than a2a_wait.
async function stops(id) {
  const task = await cancel(id)
  return task.status.state === 'TASK_STATE_CANCELED' ? task : until(async () => {
    const later = await get(id)
    return later.status.state === 'TASK_STATE_CANCELED' && later
  })
}
const seen = ({ status, metadata }) => [status.state.replace('TASK_STATE_', ''), metadata[uri].cancel]

/** The events of a subscription, as they come. */
async function subscribe(id) {
  const to = new URL(stack.broker)
  const request = http.get({ hostname: to.hostname, port: to.port, path: `/tasks/${id}:subscribe`, headers, agent: false })
  const [response] = await once(request, 'response')
  assert.equal(response.statusCode, 200)
  const events = []
  let text = ''
  response.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const data = text.slice(0, end).replace(/^data: /, '')
      if (!data.startsWith(':')) events.push(JSON.parse(data))
    }
  })
  return { events, ended: once(response, 'end'), hangUp: () => request.destroy() }
}

test('what a link leads to is waited for, by whoever asks', async () => {
  const top = await startRun(stack.agentds[0])
  const link = await ask(stack.agentds[0], 'POST', `/v1/runs/${top.id}/links`,
    { token: top.token, body: { epoch: top.epoch, kind: 'root', to: 'far-away' } })
  assert.equal(link.status, 201, link.text)
  const far = await startRun(stack.agentds[1], { run_id: 'far-away', linked_from: `${top.id}/${top.id}` })
  const subscription = await subscribe(top.id)

  const [task] = await Promise.all([cancel(top.id), top.obey(), far.stopping()])
  assert.deepEqual(seen(task), ['WORKING', 'requested'])
  assert.deepEqual(seen(await get(top.id)), ['WORKING', 'requested'])
  assert.deepEqual(seen(await cancel(top.id)), ['WORKING', 'requested'])
  assert.deepEqual(seen(await get(far.id)), ['WORKING', 'requested']) // a task of its own
  await far.end('cancelled')
  await subscription.ended
  const last = subscription.events.at(-1).statusUpdate
  assert.deepEqual(seen(last), ['CANCELED', 'stopped'])
  assert.equal(subscription.events.filter((event) => event.statusUpdate?.status.state === 'TASK_STATE_CANCELED').length, 1)
  assert.deepEqual(seen(await get(top.id)), ['CANCELED', 'stopped'])
  assert.deepEqual(seen(await cancel(top.id)), ['CANCELED', 'stopped'])
})

test('a task below a cancelled one is canceled with it', async () => {
  const top = await startRun(stack.agentds[0])
  const below = await startRun(stack.agentds[1], { root: top.id, parent: top.id, aliases: { a2a: 'below' } })
  await Promise.all([stops(top.id), top.obey(), below.obey()])
  const task = await get('below')
  assert.deepEqual(seen(task), ['CANCELED', 'stopped'])
  assert.equal(task.metadata[uri].cancel_id, `${top.id}.${top.id}`)
})

test('work that is done all the same is canceled, as it was asked', async () => {
  const run = await startRun(stack.agentds[0])
  const [task] = await Promise.all([stops(run.id), run.stopping().then(() => run.end('success'))])
  assert.deepEqual(seen(task), ['CANCELED', 'stopped'])
})

test('a failed task is FAILED, and takes along what is below it', async () => {
  const run = await startRun(stack.agentds[0])
  const child = await startRun(stack.agentds[1], { root: run.id, parent: run.id })
  await run.end('error')
  assert.equal((await get(run.id)).status.state, 'TASK_STATE_FAILED')
  await child.obey()
  assert.deepEqual(seen(await get(child.id)), ['CANCELED', 'stopped'])
  const { error } = await cancel(run.id)
  assert.equal(error.details[0].reason, 'TASK_NOT_CANCELABLE')
})

test('what is only cancelled before it has begun is canceled', async () => {
  await ask(stack.broker, 'POST', '/v1/runs/not-yet/cancel', { body: {} })
  assert.deepEqual(seen(await get('not-yet')), ['CANCELED', 'stopped'])
})

test('subscriptions do not touch each other, nor the task', async () => {
  const run = await startRun(stack.agentds[0])
  const [one, two] = await Promise.all([subscribe(run.id), subscribe(run.id)])
  await until(() => one.events.length && two.events.length)
  one.ended.catch(() => {})
  one.hangUp()
  await Promise.all([cancel(run.id), run.obey()])
  await two.ended
  assert.deepEqual(two.events.map((event) => Object.keys(event)[0]).slice(0, 2), ['task', 'statusUpdate'])
  assert.deepEqual(seen(two.events.at(-1).statusUpdate), ['CANCELED', 'stopped'])
})

test('a subscription to a task that waits for input ends when it does', async () => {
  const run = await startRun(stack.agentds[0])
  const subscription = await subscribe(run.id)
  await run.end('paused')
  await subscription.ended
  assert.equal(subscription.events.at(-1).statusUpdate.status.state, 'TASK_STATE_INPUT_REQUIRED')
})
