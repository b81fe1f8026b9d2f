// LangGraph's routes of the broker, asked by the real client of LangGraph.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { after, before, describe, test } from 'node:test'
import { Client } from '@langchain/langgraph-sdk'
import { places } from './support/places.mjs'
import { startRun } from './support/runs.mjs'
import { ask, until } from './support/stack.mjs'

let stack, client

/** A run as LangGraph names it, registered at one of the agentds. */
async function begin({ thread = randomUUID(), agentd = stack.agentds[0], ...body } = {}) {
  const run = await startRun(agentd, { run_id: randomUUID(), thread_id: thread, ...body })
  return { ...run, thread }
}
const status = async ({ thread, id }) => (await client.runs.get(thread, id)).status
const refused = (wanted) => (error) => {
  assert.equal(error.status, wanted, error.message)
  assert.match(error.message, /detail/)
  return true
}

/** Connected and gone again: what a user does who closes the window. */
async function drop(path) {
  const request = http.get(`${stack.broker}${path}`)
  const gone = new Promise((closed) => request.once('close', closed))
  request.on('error', () => {})
  if (path.includes('/stream')) {
    const [response] = await once(request, 'response')
    await once(response, 'data')
  } else {
    await once(request, 'finish')
    await ask(stack.broker, 'GET', '/livez') // it is served behind the join, which has no answer yet
  }
  request.destroy()
  await gone
}
// The same stories on every kind of server: embedded, deployed, spread over a cluster.
for (const [place, start] of places)
  describe(place, () => {
    before(async () => {
      stack = await start()
      client = new Client({ apiUrl: stack.broker })
    })
    after(() => stack?.stop())
    theStories()
  })

function theStories() {
test('a cancel is told at once, and the run says why until it has stopped', async () => {
  const run = await begin({ agent: 'researcher', labels: { team: 'red' } })
  assert.equal(await client.runs.cancel(run.thread, run.id, false, 'interrupt', { reason: 'taken:enough' }), undefined)
  await run.stopping()
  const seen = await client.runs.get(run.thread, run.id)
  assert.deepEqual([seen.status, seen.cancel_reason, seen.assistant_id, seen.metadata],
    ['running', 'taken:enough', 'researcher', { team: 'red' }])
  await run.obey()
  assert.equal(await status(run), 'interrupted')
})

test('with wait a cancel resolves when all of it has stopped, on whichever replica', async () => {
  const run = await begin()
  const child = await startRun(stack.agentds[1], { baggage: run.baggage })
  let resolved = false
  const cancel = client.runs.cancel(run.thread, run.id, true).then(() => { resolved = true })
  await run.obey()
  await child.stopping()
  assert.equal(resolved, false)
  await child.obey()
  await cancel
  assert.equal(await status(run), 'interrupted')
})

test('a rolled back run is gone', async () => {
  const run = await begin()
  await client.runs.cancel(run.thread, run.id, false, 'rollback')
  await run.stopping()
  await run.end('rolled_back')
  await assert.rejects(client.runs.get(run.thread, run.id), refused(404))
})

test('what is over, unknown or of another thread is refused', async () => {
  const run = await begin()
  await run.end('success')
  for (const wait of [false, true]) await assert.rejects(client.runs.cancel(run.thread, run.id, wait), refused(404))
  const other = await begin()
  await assert.rejects(client.runs.cancel(run.thread, other.id), refused(404))
  await assert.rejects(client.runs.cancel(other.thread, randomUUID()), refused(404))
  await assert.rejects(client.runs.cancel(other.thread, other.id, false, 'bogus'), refused(422))
  assert.equal(await status(other), 'running')
  await other.end('success')
})

test('many are cancelled in every form of the question', async () => {
  const one = await begin(), two = await begin({ thread: one.thread }), other = await begin()
  assert.equal(await client.runs.cancelMany({ threadId: one.thread, runIds: [one.id] }), undefined)
  await one.obey()
  await client.runs.cancelMany({ threadId: one.thread, status: 'running', action: 'interrupt' })
  await two.obey()
  assert.equal(await status(other), 'running')
  await assert.rejects(client.runs.cancelMany({ threadId: one.thread, runIds: [one.id, randomUUID()] }), refused(404))
  await assert.rejects(client.runs.cancelMany({ status: 'pending' }), refused(404))
  await assert.rejects(client.runs.cancelMany({}), refused(422))
  await assert.rejects(client.runs.cancelMany({ runIds: [one.id] }), refused(422))
  await assert.rejects(client.runs.cancelMany({ threadId: one.thread, runIds: [one.id], status: 'all' }), refused(422))
  await client.runs.cancelMany({ status: 'all', action: 'rollback' })
  await other.obey()
})

test('runs of a thread are listed and deleted', async () => {
  const one = await begin(), two = await begin({ thread: one.thread, agentd: stack.agentds[1] })
  await one.end('error')
  const ids = async (options) => (await client.runs.list(one.thread, options)).map((run) => run.run_id)
  assert.deepEqual(await ids(), [two.id, one.id])
  assert.deepEqual(await ids({ limit: 1, offset: 1 }), [one.id])
  assert.deepEqual(await ids({ status: 'running' }), [two.id])
  assert.deepEqual(await client.runs.list(randomUUID()), [])
  assert.equal(await client.runs.delete(one.thread, two.id), undefined) // it lives: cancelled
  await two.obey()
  await assert.rejects(client.runs.delete(one.thread, two.id), refused(404))
  await assert.rejects(client.runs.cancel(one.thread, two.id), refused(404))
  assert.deepEqual(await ids(), [one.id])
})

test('a join answers the run when it is over', async () => {
  const run = await begin()
  const joined = client.runs.join(run.thread, run.id, { cancelOnDisconnect: true })
  await run.end('success')
  assert.equal((await joined).status, 'success')
  assert.equal((await client.runs.join(run.thread, run.id)).run_id, run.id)
})

test('a stream begins and ends with the run, with its thread or without', async () => {
  for (const withThread of [true, false]) {
    const run = await begin()
    const events = []
    const streamed = (async () => {
      for await (const part of client.runs.joinStream(withThread ? run.thread : null, run.id)) events.push(part)
    })()
    await until(() => events.length > 0)
    assert.deepEqual([events[0].event, events[0].data], ['metadata', { run_id: run.id, attempt: 1 }])
    await run.end('success')
    await streamed
    assert.deepEqual([events.length, events[1].event, events[1].data.status], [2, 'end', 'success'])
  }
})

test('an ended stream has cancelled nobody, and one of a failed run says so', async () => {
  const run = await begin()
  const child = await startRun(stack.agentds[1], { baggage: run.baggage })
  const streamed = (async () => {
    const events = []
    for await (const part of client.runs.joinStream(run.thread, run.id, { cancelOnDisconnect: true })) events.push(part.event)
    return events
  })()
  await run.end('success')
  assert.deepEqual(await streamed, ['metadata', 'end'])
  assert.equal((await ask(stack.broker, 'GET', `/v1/runs/${child.id}?root=${run.id}`)).json.effective_state, 'running')
  await child.end('success')
  const failed = await begin()
  await failed.end('error')
  const events = []
  for await (const part of client.runs.joinStream(failed.thread, failed.id)) events.push(part.event)
  assert.deepEqual(events, ['metadata', 'error', 'end'])
})

for (const [what, yes, no] of [['join', '1', '0'], ['join', 'true', 'false'], ['stream', '1', '0'], ['stream', 'cancel', 'continue']])
  test(`${what}: a client that goes away cancels if it said ${yes}, and not if it said ${no}`, async () => {
    const leave = await begin(), stay = await begin()
    await drop(`/threads/${stay.thread}/runs/${stay.id}/${what}?cancel_on_disconnect=${no}`)
    await drop(`/threads/${leave.thread}/runs/${leave.id}/${what}?cancel_on_disconnect=${yes}`)
    await leave.obey()
    assert.equal((await client.runs.get(leave.thread, leave.id)).cancel_reason, 'on_disconnect')
    assert.equal(await status(stay), 'running')
    await stay.end('success')
  })

test('a new run interrupts the old one of its thread, on whichever replica', async () => {
  const old = await begin()
  const next = await begin({ thread: old.thread, agentd: stack.agentds[1], multitask_strategy: 'interrupt' })
  await old.obey()
  const seen = await client.runs.get(old.thread, old.id)
  assert.deepEqual([seen.status, seen.cancel_reason], ['interrupted', `superseded by run ${next.id}`])
  assert.equal((await client.runs.get(next.thread, next.id)).multitask_strategy, 'interrupt')
  const busy = await ask(stack.agentds[0], 'POST', '/v1/runs', { body: { thread_id: old.thread, multitask_strategy: 'reject' } })
  assert.deepEqual([busy.status, busy.json.code], [409, 'conflict'])
  await next.end('success')
})

test('of many that start at once in a thread, one goes on', async () => {
  for (const strategy of ['interrupt', 'rollback', 'reject']) {
    const thread = randomUUID()
    const asked = await Promise.all(Array.from({ length: 12 }, (_, i) => ask(stack.agentds[i % 2], 'POST', '/v1/runs', {
      body: { run_id: randomUUID(), thread_id: thread, multitask_strategy: strategy } })))
    const started = asked.filter(({ status }) => status === 201).map(({ json }) => json)
    for (const { json } of asked.filter(({ status }) => status !== 201))
      assert.equal(json.code, strategy === 'reject' ? 'conflict' : 'cancelled')
    if (strategy === 'reject') assert.equal(started.length, 1)
    await until(async () => {
      const states = await Promise.all(started.map(async ({ run_id: id }) =>
        (await ask(stack.broker, 'GET', `/v1/runs/${id}`)).json.effective_state))
      return states.filter((state) => state === 'running').length === 1
        && states.every((state) => state === 'running' || state === 'stopping')
    })
  }
})

test('cancels at the same time are one interruption, and success to all', async () => {
  for (let round = 0; round < 5; round++) {
    const run = await begin()
    await Promise.all(Array.from({ length: 10 }, (_, i) =>
      client.runs.cancel(run.thread, run.id, false, i % 2 ? 'rollback' : 'interrupt')))
    const { json } = await ask(stack.broker, 'GET', `/v1/audit?run=${run.id}`)
    assert.deepEqual(json.entries.map(({ outcome }) => outcome).filter((outcome) => outcome === 'accepted'), ['accepted'])
    await run.obey()
  }
})

test('a cancel that races the end wins or loses, and says which', async () => {
  let won = 0
  for (let round = 0; round < 40; round++) {
    const run = await begin()
    const end = run.end('success')
    const cancel = client.runs.cancel(run.thread, run.id).then(() => true, (error) => error.status === 404 ? false : Promise.reject(error))
    const [, wins] = await Promise.all([end, cancel])
    assert.equal(await status(run), wins ? 'interrupted' : 'success')
    won += wins ? 1 : 0
  }
  assert.ok(won < 40) // the end was asked for first
})

test('a cancel that races the start finds nobody, or stops it', async () => {
  for (let round = 0; round < 40; round++) {
    const thread = randomUUID(), id = randomUUID()
    const start = begin({ run_id: id, thread, agentd: stack.agentds[round % 2] })
    const cancel = client.runs.cancel(thread, id).then(() => true, (error) => error.status === 404 ? false : Promise.reject(error))
    const [run, found] = await Promise.all([start, cancel])
    if (!found) await client.runs.cancel(thread, id)
    await run.obey()
    assert.equal(await status(run), 'interrupted')
  }
})
}
