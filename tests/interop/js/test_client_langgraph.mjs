// LangGraph.js graphs as runs, and its SQLite checkpointer behind the fence, against real daemons.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'

import { Annotation, Command, END, interrupt, START, StateGraph } from '@langchain/langgraph'
import { SqliteSaver } from '@langchain/langgraph-checkpoint-sqlite'
import { CancelledError, connect, currentRun } from 'brakewire'
import { fenced, node, protect } from 'brakewire/langgraph'

import { ask, startStack, until } from './support/stack.mjs'

let stack
let client
const rejections = []
process.on('unhandledRejection', (reason) => rejections.push(reason))

before(async () => {
  stack = await startStack({ agentds: 2 })
  client = connect({ agentd: stack.agentds[0] })
})
after(async () => {
  client.close()
  await stack.stop()
  assert.deepEqual(rejections, [])
})

const look = async (id) => (await ask(stack.broker, 'GET', `/v1/runs/${id}`)).json
const cancel = (id, body = {}) => ask(stack.broker, 'POST', `/v1/runs/${id}/cancel`, { body })
const ended = (id) => until(async () => {
  const run = await look(id)
  return !['running', 'stopping'].includes(run.state) && run
})

/* Waits for the signal, as a call of fetch would. */
const listen = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
const gate = () => {
  const made = {}
  made.passed = new Promise((open, fail) => {
    made.open = open
    setTimeout(() => fail(new Error('waited in vain')), 20000).unref()
  })
  made.passed.catch(() => {}) // whoever waits hears of it
  return made
}

const State = Annotation.Root({ steps: Annotation({ reducer: (a, b) => a.concat(b), default: () => [] }) })
const graphOf = (nodes, { checkpointer, name } = {}) => {
  const builder = new StateGraph(State)
  const names = Object.keys(nodes)
  for (const each of names) builder.addNode(each, nodes[each])
  builder.addEdge(START, names[0])
  names.forEach((each, i) => builder.addEdge(each, names[i + 1] ?? END))
  return builder.compile({ checkpointer, name })
}
const thread = (id) => ({ configurable: { thread_id: id } })
const stored = (saver, table) => saver.db.prepare(`SELECT * FROM ${table} ORDER BY rowid`).all()

test('an invocation is a run, and its nodes know it', async () => {
  let run
  const graph = protect(graphOf({ work: async () => { run = currentRun(); return { steps: ['work'] } } }, { name: 'writer' }), { client })
  assert.deepEqual(await graph.invoke({ steps: [] }, thread('t-7')), { steps: ['work'] })
  const seen = await look(run.runId)
  assert.deepEqual([seen.state, seen.agent, seen.thread_id], ['success', 'writer', 't-7'])
})

test('a cancel of what is above aborts the signal of a node, and is why the invocation fails', async () => {
  const begun = gate()
  const graph = protect(graphOf({
    work: async (_, { signal }) => { begun.open(currentRun()); await listen(signal) },
  }), { client })
  const parent = await connect({ agentd: stack.agentds[1] }).start({ agent: 'supervisor' })
  const call = assert.rejects(
    graph.invoke({ steps: [] }, { configurable: { thread_id: 't', baggage: parent.baggage } }),
    (error) => error instanceof CancelledError && error.reason === 'enough',
  )
  const run = await begun.passed
  assert.equal(run.path[0], parent.runId)
  await cancel(parent.runId, { reason: 'enough' })
  await call
  assert.equal((await ended(run.runId)).state, 'cancelled')
  await parent.end('cancelled')
})

test('a node that does not heed the signal is given up by LangGraph, and not called stopped by us', async () => {
  const begun = gate()
  const goes = gate()
  const graph = protect(graphOf({ stubborn: async () => { begun.open(currentRun()); await goes.passed; return { steps: ['late'] } } }), { client })
  const call = assert.rejects(graph.invoke({ steps: [] }), CancelledError)
  const run = await begun.passed
  await cancel(run.runId, { reason: 'stop', grace_ms: 0 })
  await call
  await until(async () => (await look(run.runId)).flags.includes('unresponsive'))
  assert.equal((await look(run.runId)).state, 'stopping')
  goes.open()
  assert.equal((await ended(run.runId)).state, 'cancelled')
})

test('after a cancel no write of a task is stored, and one last checkpoint', async () => {
  const saver = SqliteSaver.fromConnString(':memory:')
  const begun = gate()
  const goes = gate()
  const graph = protect(graphOf({
    first: () => ({ steps: ['first'] }),
    stubborn: async () => { begun.open(currentRun()); await goes.passed; return { steps: ['late'] } },
    never: () => ({ steps: ['never'] }),
  }, { checkpointer: fenced(saver) }), { client })
  const call = assert.rejects(graph.invoke({ steps: [] }, { ...thread('t'), durability: 'sync' }), CancelledError)
  const run = await begun.passed
  await until(() => stored(saver, 'checkpoints').length === 3 || undefined)
  const before = [stored(saver, 'checkpoints').length, stored(saver, 'writes').length]
  await run.cancel({ reason: 'stop' })
  await call
  goes.open()
  assert.equal((await ended(run.runId)).state, 'cancelled')
  const { values } = await graph.getState(thread('t'))
  assert.deepEqual(values.steps, ['first'])
  assert.deepEqual([stored(saver, 'checkpoints').length, stored(saver, 'writes').length], before)
})

test('of all that is written at once behind a cancel, one checkpoint is', async () => {
  const saver = SqliteSaver.fromConnString(':memory:')
  const run = await client.start({ agent: 'writer' })
  const asks = fenced(saver, { run })
  const checkpoint = (id) => ({ v: 4, id, ts: '', channel_values: {}, channel_versions: {}, versions_seen: {} })
  const at = (id) => ({ configurable: { thread_id: 't', checkpoint_ns: '', checkpoint_id: id } })
  await asks.put(at('0'), checkpoint('1'), {}, {})
  await asks.putWrites(at('1'), [['steps', 'x']], 'task-1')
  await run.cancel({ reason: 'stop' })
  if (!run.signal.aborted) await once(run.signal, 'abort')
  await assert.rejects(asks.putWrites(at('1'), [['steps', 'y']], 'task-2'), (error) => error.code === 'frozen')
  const puts = await Promise.allSettled(['1', '2', '3'].map((id) => asks.put(at(id), checkpoint(`${id}x`), {}, {})))
  assert.deepEqual(puts.map((each) => each.status).sort(), ['fulfilled', 'rejected', 'rejected'])
  assert.equal(stored(saver, 'checkpoints').length, 2)
  assert.equal(stored(saver, 'writes').length, 1)
  assert.ok(asks instanceof SqliteSaver)
  assert.equal((await asks.getTuple({ configurable: { thread_id: 't' } })).config.configurable.thread_id, 't')
  await run.end('cancelled')
})

test('a checkpointer that a graph is given later asks, too', async () => {
  const graph = protect(graphOf({ work: () => ({ steps: ['work'] }) }), { client })
  assert.equal(graph.checkpointer, undefined)
  const asks = fenced(SqliteSaver.fromConnString(':memory:'))
  graph.checkpointer = asks
  assert.equal(graph.checkpointer, asks)
  graph.checkpointer = SqliteSaver.fromConnString(':memory:')
  await client.withRun({ agent: 'writer' }, async (run) => {
    await run.cancel({ reason: 'stop' })
    if (!run.signal.aborted) await once(run.signal, 'abort')
    const write = graph.checkpointer.putWrites({ configurable: { thread_id: 't', checkpoint_id: '1' } }, [['steps', 'x']], 'task')
    await assert.rejects(write, (error) => error.code === 'frozen')
  })
})

test('a life that was taken over writes nothing', async () => {
  const saver = SqliteSaver.fromConnString(':memory:')
  const run = await client.start({ agent: 'moves' })
  const next = connect({ agentd: stack.agentds[1], token: client.token })
  const adopted = await next.start({ runId: run.runId, epoch: run.epoch, takeover: true })
  const put = fenced(saver, { run }).put({ configurable: { thread_id: 't' } }, { v: 4, id: '1', ts: '', channel_values: {}, channel_versions: {}, versions_seen: {} }, {}, {})
  await assert.rejects(put, (error) => error.code === 'fenced')
  saver.setup()
  assert.equal(stored(saver, 'checkpoints').length, 0)
  await adopted.end()
  next.close()
})

test('a stream that nobody reads on is cancelled, with what is below it', async () => {
  const begun = gate()
  const graph = protect(graphOf({
    first: () => ({ steps: ['first'] }),
    second: async (_, { signal }) => {
      const below = await client.start({ agent: 'below' })
      below.signal.addEventListener('abort', () => below.end('cancelled'))
      begun.open({ run: currentRun(), below })
      await listen(signal)
    },
  }), { client })
  let seen
  for await (const chunk of await graph.stream({ steps: [] }, { streamMode: 'updates' })) {
    seen = await begun.passed
    assert.deepEqual(Object.keys(chunk), ['first'])
    break
  }
  assert.equal((await ended(seen.run.runId)).state, 'cancelled')
  assert.equal((await ended(seen.below.runId)).state, 'cancelled')
})

test("a caller's own signal stops the run and what is below it", async () => {
  const begun = gate()
  const graph = protect(graphOf({ work: async (_, { signal }) => { begun.open(currentRun()); await listen(signal) } }), { client })
  const caller = new AbortController()
  const call = assert.rejects(graph.invoke({ steps: [] }, { signal: caller.signal }))
  const run = await begun.passed
  caller.abort(new Error('tab closed'))
  await call
  const { state, cancel: why } = await ended(run.runId)
  assert.deepEqual([state, why.reason], ['cancelled', 'its caller left'])
})

test('an interrupt is a pause, an error is an error', async () => {
  let run
  const note = (work) => async (state) => { run = currentRun(); return work(state) }
  const saver = SqliteSaver.fromConnString(':memory:')
  const asks = protect(graphOf({ ask: note(() => ({ steps: [interrupt('sure?')] })) }, { checkpointer: fenced(saver) }), { client })
  await asks.invoke({ steps: [] }, thread('t'))
  assert.equal((await ended(run.runId)).state, 'paused')
  assert.deepEqual((await asks.invoke(new Command({ resume: 'yes' }), thread('t'))).steps, ['yes'])
  assert.equal((await ended(run.runId)).state, 'success')
  const fails = protect(graphOf({ fail: note(() => { throw new Error('broken') }) }), { client })
  await assert.rejects(fails.invoke({ steps: [] }), /broken/)
  assert.equal((await ended(run.runId)).state, 'error')
})

test('subgraphs and nodes can be runs of their own', async () => {
  const runs = {}
  const inner = protect(graphOf({ leaf: async () => { runs.leaf = currentRun(); return { steps: ['leaf'] } } }, { name: 'inner' }), { client })
  const outer = protect(graphOf({
    top: async () => { runs.top = currentRun(); return { steps: ['top'] } },
    inner,
    own: node(async function own(_, config, run) { runs.own = run; assert.ok(!config.signal.aborted); return { steps: ['own'] } }, { client, labels: { a: 'b' } }),
  }, { name: 'outer' }), { client })
  const { steps } = await outer.invoke({ steps: [] })
  assert.ok(steps.includes('leaf') && steps.includes('own'))
  assert.deepEqual(runs.leaf.path, [runs.top.runId, runs.leaf.runId])
  assert.deepEqual(runs.own.path, [runs.top.runId, runs.own.runId])
  assert.equal((await look(runs.leaf.runId)).agent, 'inner')
  assert.equal((await look(runs.own.runId)).agent, 'own')
})

test('a copy with a config is protected, and events flow as ever', async () => {
  let run
  const graph = protect(graphOf({ work: async () => { run = currentRun(); return { steps: ['work'] } } }), { client }).withConfig({ tags: ['x'] })
  const names = []
  for await (const { event } of graph.streamEvents({ steps: [] }, { version: 'v2' })) names.push(event)
  assert.ok(names.includes('on_chain_end'))
  assert.equal((await ended(run.runId)).state, 'success')
})

test('in a scope that was cancelled nothing begins', async () => {
  const parent = await client.start({ agent: 'parent' })
  await parent.cancel({ reason: 'no' })
  let ran = false
  const graph = protect(graphOf({ work: async () => { ran = true; return {} } }), { client })
  await assert.rejects(graph.invoke({ steps: [] }, { configurable: { baggage: parent.baggage } }), CancelledError)
  assert.ok(!ran)
  await parent.end('cancelled')
})
