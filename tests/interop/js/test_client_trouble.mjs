// The JavaScript client when its agentd is killed, comes back, or has never been there.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { connect, UnavailableError } from 'brakewire'

import { ask, source, startAgentd, startStack, until } from './support/stack.mjs'

let stack
const clients = []
const client = (options) => {
  clients.push(connect(options))
  return clients.at(-1)
}

before(async () => { stack = await startStack() })
after(() => {
  for (const each of clients) each.close()
  return stack.stop()
})

const look = async (id) => (await ask(stack.broker, 'GET', `/v1/runs/${id}`)).json
const cancel = (id, body) => ask(stack.broker, 'POST', `/v1/runs/${id}/cancel`, { body })
const aborted = (run) => run.signal.aborted || once(run.signal, 'abort', { signal: AbortSignal.timeout(20000) })

function warnings() {
  const seen = []
  const note = (warning) => warning.name === 'BrakewireWarning' && seen.push(warning)
  process.on('warning', note)
  return { seen, stop: () => process.removeListener('warning', note) }
}

test('after a kill the runs are registered again, and a cancel given meanwhile is found', async () => {
  const agentd = await startAgentd(stack)
  const one = client({ agentd: agentd.socket })
  const told = await one.start({ agent: 'told' })
  const untold = await one.start({ agent: 'untold', threadId: 'busy-too', multitaskStrategy: 'interrupt' })
  const beside = await client({ agentd: stack.agentds[0] }).start({ threadId: 'busy-too' })
  const ended = await one.start({ agent: 'ended meanwhile' })
  const child = await one.start({ agent: 'child', parent: untold })

  const gone = once(one, 'disconnected')
  await agentd.kill()
  await gone
  assert.ok(!told.isProtected)
  assert.equal((await cancel(told.runId, { reason: 'while nobody heard' })).status, 202)
  const answer = await ended.end('success')
  assert.deepEqual([answer.state, answer.pending], ['success', true])

  const again = await startAgentd(stack, { socket: agentd.socket })
  await aborted(told)
  assert.equal(told.signal.reason.reason, 'while nobody heard')
  await until(() => untold.isProtected && child.isProtected)
  assert.equal((await look(untold.runId)).epoch, 1, 'the same life, not a new one, and not rejected')
  assert.ok(!beside.signal.aborted, 'a run of its thread that came later goes on')
  await beside.end()
  await until(async () => (await look(ended.runId)).state === 'success')
  assert.ok(!untold.signal.aborted && !child.signal.aborted)
  await cancel(untold.runId, { reason: 'later' })
  await aborted(child)
  const ends = await Promise.all([told, untold, child].map((run) => run.end('cancelled')))
  assert.deepEqual(ends.map((end) => end.state), ['cancelled', 'cancelled', 'cancelled'])
  await again.stop()
})

test('a call to an agentd that is being restarted waits for it, for a while', async () => {
  const agentd = await startAgentd(stack)
  const run = await client({ agentd: agentd.socket }).start({ agent: 'writer' })
  await agentd.kill()
  const fence = run.fence('w-1')
  const again = await startAgentd(stack, { socket: agentd.socket })
  assert.deepEqual(await fence, { granted: true, last: false })
  await again.kill()
  await assert.rejects(run.fence('w-2'), (error) => error instanceof UnavailableError, 'silence is no permission')
  assert.equal((await run.end()).pending, true)
})

test('without an agentd a run goes on with one warning, and joins when one appears', async () => {
  const socket = join(stack.folder, 'later.sock')
  const { seen, stop } = warnings()
  const one = client({ agentd: socket })
  const run = await one.start({ agent: 'early', labels: { a: 'b' }, deadlineMs: 60000 })
  const child = await one.start({ agent: 'child', parent: run })
  await until(() => seen.length > 0)
  assert.match(seen[0].message, /no agentd answers at .*later\.sock/)
  assert.ok(!run.isProtected && !run.signal.aborted)
  assert.deepEqual(child.path, [run.runId, child.runId])
  assert.deepEqual(await run.fence('w'), { granted: true, last: false, unconfirmed: true })
  await assert.rejects(run.link({ to: 'x' }), (error) => error.code === 'unreachable')

  const agentd = await startAgentd(stack, { socket })
  await until(() => run.isProtected && child.isProtected)
  assert.equal(seen.length, 1)
  stop()
  const stored = await look(child.runId)
  assert.deepEqual([stored.parent, stored.agent], [run.runId, 'child'])
  assert.ok((await look(run.runId)).deadline_at)
  await cancel(run.runId, { reason: 'now it can' })
  await Promise.all([aborted(run), aborted(child)])
  await Promise.all([run.end('cancelled'), child.end('cancelled')])
  await agentd.stop()
})

test('without an agentd a cancel stops what is here, and what a child is elsewhere later', async () => {
  const socket = join(stack.folder, 'cancels.sock')
  const one = client({ agentd: socket })
  const { stop } = warnings()
  const top = await one.start({ agent: 'top' })
  const here = await one.start({ parent: top })
  const elsewhere = await client({ agentd: stack.agentds[0] }).start({ headers: top.headers() })
  assert.equal(elsewhere.root, top.runId)
  const answer = await top.cancelChildren({ reason: 'enough' })
  assert.deepEqual([answer.toldHere, answer.pending, here.signal.aborted, top.signal.aborted], [1, true, true, false])
  assert.equal((await here.fence('last')).last, true)
  await assert.rejects(here.fence('more'), (error) => error.code === 'frozen')
  const agentd = await startAgentd(stack, { socket })
  await aborted(elsewhere)
  assert.equal(elsewhere.signal.reason.reason, 'enough')
  await Promise.all([here.end('cancelled'), elsewhere.end('cancelled'), top.end()])
  await agentd.stop()
  stop()
})

test('without an agentd a deadline holds all the same', async () => {
  const one = client({ agentd: join(stack.folder, 'never.sock') })
  const run = await one.start({ deadlineMs: 50 })
  await aborted(run)
  assert.equal(run.signal.reason.reason, 'deadline')
})

test('without an agentd a signed context goes on as it came', async () => {
  const { stop } = warnings()
  const one = client({ agentd: join(stack.folder, 'never.sock') })
  const run = await one.start({ baggage: 'brakewire=1.root.x~k1~6l_0m2CSFZbycYXYJKJtcp,a=b' })
  assert.equal(run.baggage, 'brakewire=1.root.x~k1~6l_0m2CSFZbycYXYJKJtcp,a=b')
  assert.equal(run.root, 'root')
  stop()
})

test('an agentd that is frozen is as good as away, and found again', async () => {
  const { seen, stop } = warnings()
  const agentd = await startAgentd(stack)
  const one = client({ agentd: agentd.socket, timeoutMs: 500 })
  const before = await one.start({ agent: 'before' })
  agentd.signal('SIGSTOP')
  const asked = performance.now()
  const run = await one.start({ agent: 'meanwhile' })
  assert.ok(performance.now() - asked < 1500, 'it is not asked again and again')
  assert.ok(!run.isKnown && before.isKnown)
  await until(() => seen.length > 0)
  stop()
  agentd.signal('SIGCONT')
  await agentd.kill()
  const again = await startAgentd(stack, { socket: agentd.socket })
  await until(() => run.isProtected && before.isProtected)
  await Promise.all([run.end(), before.end()])
  await again.stop()
})

test('a listener that throws keeps nobody from being told', async () => {
  const { out, code } = await program(
    `import { start } from 'brakewire'
     process.on('uncaughtException', (error) => console.log(error.message))
     const top = await start({ agent: 'top' })
     const runs = await Promise.all([1, 2, 3].map(() => start({ parent: top })))
     for (const run of runs) run.on('cancel', () => { throw new Error('mine') })
     await top.cancelChildren({ reason: 'enough' })
     for (const run of runs) if (!run.signal.aborted) await new Promise((done) => run.signal.addEventListener('abort', done))
     await Promise.all(runs.map((run) => run.end('cancelled')))
     await top.end()`,
    { BRAKEWIRE_AGENTD: stack.agentds[0] },
  )
  assert.deepEqual([out, code], ['mine\nmine\nmine\n', 0])
})

test('who is strict gets an error instead', async () => {
  const socket = join(stack.folder, 'never.sock')
  await assert.rejects(client({ agentd: socket, strict: true }).start(), (error) =>
    error instanceof UnavailableError && error.code === 'unreachable' && error.message.includes(socket))
})

test('a run that was started without Redis is seen to be protected when Redis has it', async () => {
  const late = join(stack.folder, 'redis-later.sock')
  const agentd = await startAgentd({ ...stack, redis: late }, { ready: false })
  const run = await client({ agentd: agentd.socket }).start({ agent: 'before redis' })
  assert.ok(!run.isProtected && run.epoch === 1)
  const { symlink } = await import('node:fs/promises')
  await symlink(stack.redis, late)
  await until(() => run.isProtected)
  await cancel(run.runId, {})
  await aborted(run)
  await run.end('cancelled')
  await agentd.stop()
})

// ---- a process of its own --------------------------------------------------------------------

function program(text, environment) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', text], {
    cwd: join(source, 'tests/interop/js'), env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let errors = ''
  child.stdout.on('data', (chunk) => { out += chunk })
  child.stderr.on('data', (chunk) => { errors += chunk })
  return once(child, 'close').then(([code, signal]) => ({ code, signal, out, errors }))
}

test('a process ends by itself, with its runs ended or not, agentd there or not', async () => {
  const ends = `import { start } from 'brakewire'
    const run = await start({ agent: 'short' }); console.log(run.runId); await run.end()`
  const forgets = `import { start } from 'brakewire'
    const run = await start({ agent: 'forgetful' }); console.log(run.runId)`
  const there = { BRAKEWIRE_AGENTD: stack.agentds[0] }
  const nowhere = { BRAKEWIRE_AGENTD: join(stack.folder, 'never.sock'), NODE_NO_WARNINGS: '' }
  const [a, b, c] = await Promise.all([program(ends, there), program(forgets, there), program(forgets, nowhere)])
  for (const each of [a, b, c]) assert.deepEqual([each.code, each.signal], [0, null], each.errors)
  assert.equal((await look(a.out.trim())).state, 'success')
  assert.equal((c.errors.match(/no agentd answers/g) ?? []).length, 1, c.errors)
  assert.equal((await look(b.out.trim())).agent, 'forgetful')
})

test('a process that dies takes its runs along, after lost_grace', async () => {
  const agentd = await startAgentd(stack, { environment: { BRAKEWIRE_LOST_GRACE: '50ms' } })
  const died = await program(
    `import { start } from 'brakewire'
     const run = await start({ agent: 'crashes' }); console.log(run.runId); process.kill(process.pid, 'SIGKILL')`,
    { BRAKEWIRE_AGENTD: agentd.socket },
  )
  assert.equal(died.signal, 'SIGKILL')
  await until(async () => (await look(died.out.trim())).cancelled_by === died.out.trim())
  await agentd.kill() // asked to go, it would wait for that run
})

test('a process that brakectl exec started is below its run', async () => {
  const { out, code, errors } = await new Promise((done) => {
    const text = `import { start } from 'brakewire'
      const run = await start({ agent: 'inside' }); console.log(JSON.stringify(run.path), process.env.BRAKEWIRE_RUN_ID); await run.end()`
    const bin = process.env.BW_BIN ?? join(source, 'build/bin')
    const child = spawn(join(bin, 'brakectl'), ['--agentd', stack.agentds[0], 'exec', '--agent', 'outside', '--', process.execPath, '--input-type=module', '-e', text],
      { cwd: join(source, 'tests/interop/js'), stdio: ['ignore', 'pipe', 'pipe'] })
    let out = ''
    let errors = ''
    child.stdout.on('data', (chunk) => { out += chunk })
    child.stderr.on('data', (chunk) => { errors += chunk })
    child.on('close', (code) => done({ out, code, errors }))
  })
  assert.equal(code, 0, errors)
  const [path, outer] = out.trim().split(' ')
  assert.equal(JSON.parse(path)[0], outer)
})
