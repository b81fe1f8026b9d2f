// The JavaScript client against real daemons: what a run is told, and what it may say.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'

import {
  CancelledError, ConflictError, connect, currentRun, FencedError, FrozenError, UnavailableError,
} from 'brakewire'
import { parse } from 'brakewire/context'

import { ask, startAgentd, startStack, until } from './support/stack.mjs'

let stack
const clients = []
const client = (options) => {
  clients.push(connect({ agentd: stack.agentds[0], ...options }))
  return clients.at(-1)
}

before(async () => { stack = await startStack({ agentds: 2 }) })
after(() => {
  for (const each of clients) each.close()
  return stack.stop()
})

const look = async (id) => (await ask(stack.broker, 'GET', `/v1/runs/${id}`)).json
const cancel = async (id, body) => (await ask(stack.broker, 'POST', `/v1/runs/${id}/cancel`, { body })).json
const aborted = (run) => run.signal.aborted || once(run.signal, 'abort', { signal: AbortSignal.timeout(20000) })

test('a cancel of the parent aborts the child on another replica, and says why', async () => {
  const parent = await client().start({ agent: 'supervisor', labels: { aTeam: 'x' }, threadId: 't-1' })
  const child = await client({ agentd: stack.agentds[1] }).start({ agent: 'researcher', headers: parent.headers() })
  assert.equal(child.root, parent.runId)
  assert.deepEqual(child.path, [parent.runId, child.runId])
  assert.ok(parent.isProtected && child.isProtected)
  const stored = await look(parent.runId)
  assert.deepEqual([stored.agent, stored.thread_id, stored.labels], ['supervisor', 't-1', { aTeam: 'x' }])

  const told = once(child, 'cancel')
  await cancel(parent.runId, { reason: 'enough', by: 'user:ann', grace_ms: 1234 })
  await Promise.all([aborted(parent), aborted(child)])
  const [reason] = await told
  assert.equal(reason, child.signal.reason)
  assert.ok(reason instanceof CancelledError)
  assert.equal(reason.cancelId, `${parent.runId}.${parent.runId}`)
  assert.deepEqual([reason.reason, reason.by, reason.action, reason.run], ['enough', 'user:ann', 'interrupt', child.runId])
  assert.ok(reason.graceMs > 0 && reason.graceMs <= 1234, `grace ${reason.graceMs}`)
  await until(async () => (await look(child.runId)).flags.includes('acknowledged'))

  const { phases } = await child.ack('cleaned_up')
  assert.ok(phases.includes('cleaned_up') && phases.includes('acknowledged'), String(phases))
  assert.deepEqual(await child.end('cancelled'), { runId: child.runId, state: 'cancelled' })
  const end = await parent.end('success')
  assert.deepEqual([end.state, end.finishedAnyway], ['cancelled', 'success'])
  await assert.rejects(client().start({ headers: child.headers() }), CancelledError)
})

test('after a cancel one checkpoint is granted, and no other', async () => {
  const run = await client().start({ agent: 'writer' })
  assert.deepEqual(await run.fence('w-1'), { granted: true, last: false })
  assert.deepEqual(await run.fence('w-2', Buffer.from('state')), { granted: true, last: false })
  await run.cancel({ reason: 'stop writing' })
  await aborted(run)
  assert.deepEqual(await run.fence('w-3'), { granted: true, last: true })
  assert.deepEqual(await run.fence('w-3'), { granted: true, last: true })
  await assert.rejects(run.fence('w-4'), (error) => error instanceof FrozenError && error.code === 'frozen')
  await run.end('cancelled')
})

test('children are cancelled and the run goes on', async () => {
  const run = await client().start({ agent: 'supervisor' })
  const children = await Promise.all([1, 2, 3].map((n) => client({ agentd: stack.agentds[n % 2] }).start({ parent: run })))
  assert.ok(children.every((child) => child.root === run.root))
  const answer = await run.cancelChildren({ reason: 'plan changed', wait: 'delivered' })
  assert.equal(answer.counts.delivered, 3)
  await Promise.all(children.map(aborted))
  assert.ok(!run.signal.aborted)
  await Promise.all(children.map((child) => child.end('cancelled')))
  assert.deepEqual(await run.end(), { runId: run.runId, state: 'success' })
  assert.equal((await run.end('error')).state, 'success', 'the first end counts')
})

test('what cannot be is refused with a code, and the run goes on', async () => {
  const run = await client().start({ agent: 'x' })
  await assert.rejects(run.end('cancelled'), (error) => error.code === 'not_cancelled' && error.status === 409)
  assert.ok(!run.isOver)
  await assert.rejects(run.ack('whatever'), (error) => error.code === 'invalid')
  await assert.rejects(client().start({ agnet: 'x' }), (error) => error.code === 'invalid' && /agnet/.test(error.message))
  await assert.rejects(client().start({ baggage: 'brakewire=nonsense' }), (error) => error.code === 'malformed')
  await cancel(run.runId)
  await aborted(run)
  await run.end('rolled_back')
})

test('a link takes along a tree that is not below', async () => {
  const from = await client().start({ agent: 'a' })
  const other = await client().start({ agent: 'b', entry: true, linkedFrom: `${from.root}/${from.runId}` })
  assert.notEqual(other.root, from.root)
  const link = await from.link({ to: other.root })
  assert.ok(link.linkId)
  await cancel(from.runId, { reason: 'all of it' })
  await Promise.all([aborted(from), aborted(other)])
  await Promise.all([from.end('cancelled'), other.end('cancelled')])
})

test('the context goes where it is sent, and an entry begins a tree of its own', async () => {
  const run = await client().start({ agent: 'x', headers: { Baggage: 'userId=alice;p=1,brakewire=broken' }, deadlineMs: 60000 })
  const read = parse(run.baggage)
  assert.equal(read.path, run.runId)
  assert.equal(read.others, 'userId=alice;p=1')
  assert.ok(read.ttlMs > 50000 && read.ttlMs <= 60000)
  const sent = run.headers(new Headers({ accept: 'a/b', baggage: 'k=v,brakewire=1.old' }))
  assert.match(sent.baggage, new RegExp(`^brakewire=1\\.${run.runId},brakewire-ttl=\\d+,k=v,userId=alice;p=1$`))
  assert.equal(sent.accept, 'a/b')
  assert.equal(parse(run.environment({ PATH: '/bin', BRAKEWIRE_RUN_ID: 'x' }).BAGGAGE).path, run.runId)

  const child = await client().start({ baggage: run.baggage })
  assert.ok(child.deadlineMs <= 60000)
  const entry = await client().start({ headers: run.headers(), entry: true })
  assert.equal(entry.root, entry.runId)
  const byId = await client().start({ parent: run.runId })
  assert.equal(byId.root, run.root)
  await Promise.all([child, entry, byId, run].map((each) => each.end()))
})

test('a deadline aborts with its reason', async () => {
  const run = await client().start({ agent: 'slow', deadlineMs: 150 })
  await aborted(run)
  assert.equal(run.signal.reason.reason, 'deadline')
  assert.equal((await run.end('cancelled')).state, 'timeout')
})

test('the same key is the same run, and so is the same id', async () => {
  const one = client()
  const [a, b] = await Promise.all([one.start({ idempotencyKey: 'k' }), one.start({ idempotencyKey: 'k' })])
  assert.equal(a, b)
  const [c, d] = await Promise.all([one.start({ runId: `mine-${a.runId}` }), one.start({ runId: `mine-${a.runId}` })])
  assert.equal(c, d)
  assert.equal(c.runId, `mine-${a.runId}`)
  await assert.rejects(client().start({ runId: c.runId }), ConflictError)
  await Promise.all([a.end(), c.end()])
  await assert.rejects(one.start({ runId: c.runId }), (error) => error.code === 'over')
})

test('a run can supersede those of its thread, or give way', async () => {
  const threadId = `thread-${crypto.randomUUID()}`
  const one = client()
  const first = await one.start({ threadId })
  await assert.rejects(client().start({ threadId, multitaskStrategy: 'reject' }), ConflictError)
  const second = await one.start({ threadId, multitaskStrategy: 'interrupt' })
  await aborted(first)
  assert.match(first.signal.reason.reason, new RegExp(`superseded by run ${second.runId}`))
  await Promise.all([first.end('cancelled'), second.end()])
})

test('a later life fences the one before it', async () => {
  const old = client()
  const run = await old.start({ agent: 'moves' })
  const next = client({ token: old.token, agentd: stack.agentds[1] })
  const adopted = await next.start({ runId: run.runId, epoch: run.epoch, takeover: true })
  assert.equal(adopted.epoch, run.epoch + 1)
  await assert.rejects(run.fence('w'), FencedError)
  await aborted(run)
  assert.equal(run.signal.reason.reason, 'fenced')
  assert.deepEqual(await adopted.fence('w'), { granted: true, last: false })
  assert.equal((await adopted.end()).state, 'success')
})

test('a run ends by how its function ended', async () => {
  const one = client()
  let ran
  const value = await one.withRun({ agent: 'f' }, async (run) => {
    ran = run
    assert.equal(currentRun(), run)
    const child = await one.start({ agent: 'below, without a word' })
    assert.deepEqual(child.path, [run.runId, child.runId])
    await child.end()
    return 7
  })
  assert.equal(value, 7)
  assert.equal(currentRun(), undefined)
  assert.equal((await look(ran.runId)).state, 'success')

  await assert.rejects(one.withRun({}, async (run) => { ran = run; throw new Error('mine') }), /mine/)
  assert.equal((await look(ran.runId)).state, 'error')

  await assert.rejects(one.withRun({}, async (run) => {
    ran = run
    await run.cancel({ reason: 'no more' })
    await aborted(run)
    run.signal.throwIfAborted()
  }), CancelledError)
  assert.equal((await look(ran.runId)).state, 'cancelled')
  assert.equal((await look(ran.runId)).finished_anyway, undefined)
})

test('a run is disposed of at the end of its block', async (t) => {
  if (Symbol.asyncDispose === undefined) return t.skip('this Node.js has no Symbol.asyncDispose')
  const run = await client().start({ agent: 'using' })
  await run[Symbol.asyncDispose]()
  assert.equal((await look(run.runId)).state, 'success')
})

test('a thousand runs of one client are told of one cancel', async () => {
  const one = client()
  const top = await one.start({ agent: 'top' })
  const runs = await Promise.all(Array.from({ length: 999 }, (_, i) => one.start({ parent: top, agent: `a${i}` })))
  assert.equal(new Set(runs.map((run) => run.runId)).size, 999)
  await cancel(top.runId, { reason: 'all' })
  await Promise.all([top, ...runs].map(aborted))
  const ends = await Promise.all([...runs, top].map((run) => run.end('cancelled')))
  assert.ok(ends.every((end) => end.state === 'cancelled'))
  assert.equal(one.runs.length, 0)
})

test('a run started while Redis is refused by policy is an error, never a run in silence', async () => {
  const lonely = await startAgentd({ ...stack, redis: `${stack.folder}/no-redis.sock` }, {
    ready: false, environment: { BRAKEWIRE_WHEN_REDIS_IS_DOWN: 'refuse' },
  })
  await assert.rejects(client({ agentd: lonely.socket }).start(), (error) => error instanceof UnavailableError && error.status === 503)
  await lonely.kill()
})
