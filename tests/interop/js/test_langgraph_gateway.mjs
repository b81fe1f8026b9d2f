// deploy/nginx/langgraph.conf as it is, but for its addresses: an application with one base URL, the
// real LangGraph server behind it, and the broker beside that.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Client } from '@langchain/langgraph-sdk'
import { freePort } from './support/places.mjs'
import { startReplica } from './support/replicas.mjs'
import { startRun } from './support/runs.mjs'
import { ask, source, startStack, until } from './support/stack.mjs'

/** nginx with the example, in a folder of its own. → { url, stop() } */
async function startGateway(broker, langgraph) {
  const folder = await mkdtemp(join(tmpdir(), 'bw-')), port = await freePort()
  let example = await readFile(join(source, 'deploy/nginx/langgraph.conf'), 'utf8')
  for (const [theirs, ours] of [['127.0.0.1:7319', new URL(broker).host], ['127.0.0.1:2024', new URL(langgraph).host],
    ['127.0.0.1:8123', `127.0.0.1:${port}`]]) {
    assert.equal(example.split(theirs).length, 2, `the example names ${theirs} once`)
    example = example.replace(theirs, ours)
  }
  const rooms = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((room) => `${room}_temp_path ${folder}/${room};`)
  await writeFile(join(folder, 'nginx.conf'), `daemon off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/error.log;
events {} http { access_log off; ${rooms.join(' ')}\n${example}\n}`)
  const program = spawn('nginx', ['-p', folder, '-e', join(folder, 'error.log'), '-c', join(folder, 'nginx.conf')], {
    stdio: 'inherit', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
  })
  const ended = once(program, 'exit')
  const kill = () => program.kill('SIGTERM')
  process.once('exit', kill)
  const url = `http://127.0.0.1:${port}`
  await Promise.race([
    until(() => ask(url, 'GET', '/ok').then(({ status }) => status === 200, () => false), { what: 'nginx' }),
    ended.then(([code]) => { throw new Error(`nginx ended with ${code}`) }),
  ])
  return {
    url,
    async stop() {
      process.removeListener('exit', kill)
      kill()
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

let stack, replica, gateway, client
before(async () => {
  stack = await startStack({ agentds: 2 })
  replica = await startReplica('langgraph_server.mjs', stack.agentds[0])
  gateway = await startGateway(stack.broker, replica.url)
  client = new Client({ apiUrl: gateway.url })
})
after(async () => {
  await gateway?.stop()
  await replica?.stop()
  await stack?.stop()
})

/** A run of the graph, begun through the gateway, once its node has registered it. */
async function begin(through, input = {}) {
  const { thread_id: thread } = await through.threads.create()
  const { run_id: id } = await through.runs.create(thread, 'agent', { input: { ticks: 500, grace: 1500, named: true, ...input } })
  await until(async () => input.brake === false
    ? (await through.runs.get(thread, id)).status === 'running'
    : (await ask(stack.broker, 'GET', `/v1/runs/${id}`)).status === 200)
  return { thread, id }
}
const state = async (id) => (await ask(stack.broker, 'GET', `/v1/runs/${id}`)).json.state
const interrupted = (through, { thread, id }) =>
  until(async () => (await through.runs.get(thread, id)).status === 'interrupted')

test('a cancel with the one base URL stops the run, and what it called elsewhere', async () => {
  const run = await begin(client)
  const child = await startRun(stack.agentds[1], { root: run.id, parent: run.id })
  const cancel = client.runs.cancel(run.thread, run.id, true)
  await child.obey()
  await cancel
  assert.equal(await state(run.id), 'cancelled')
  await interrupted(client, run)
})

test('many are cancelled, though the server behind it knows no such call', async () => {
  const run = await begin(client)
  assert.equal((await ask(replica.url, 'POST', '/runs/cancel', { body: { thread_id: run.thread, run_ids: [run.id] } })).status, 404)
  await client.runs.cancelMany({ threadId: run.thread, runIds: [run.id] })
  await interrupted(client, run)
})

test('a run that was never registered is cancelled by its own server', async () => {
  const run = await begin(client, { brake: false })
  assert.equal((await ask(stack.broker, 'POST', `/threads/${run.thread}/runs/${run.id}/cancel`)).status, 404)
  await client.runs.cancel(run.thread, run.id)
  await interrupted(client, run)
})

test('all else is the server\'s: its streams, and its clients that go away', async () => {
  const { thread_id: thread } = await client.threads.create()
  const events = []
  for await (const part of client.runs.stream(thread, 'agent', { input: { ticks: 3, grace: 1500, named: true } })) events.push(part.event)
  assert.ok(events.includes('metadata') && events.includes('values'))
  const gone = new AbortController()
  let run
  for await (const part of client.runs.stream(thread, 'agent', {
    input: { ticks: 500, grace: 1500, named: true }, onDisconnect: 'cancel', signal: gone.signal })) {
    run ??= { thread, id: part.data.run_id }
    await until(async () => (await ask(stack.broker, 'GET', `/v1/runs/${run.id}`)).status === 200)
    gone.abort()
  }
  await interrupted(client, run)
})

test('the preflight of a browser is answered by the server', async () => {
  const origin = { origin: 'https://app.example', 'access-control-request-method': 'POST' }
  const path = '/threads/t/runs/r/cancel'
  const [through, direct] = await Promise.all([gateway.url, replica.url].map((url) => ask(url, 'OPTIONS', path, { headers: origin })))
  assert.equal(through.status, direct.status)
  assert.ok(direct.headers['access-control-allow-origin'])
  assert.equal(through.headers['access-control-allow-origin'], direct.headers['access-control-allow-origin'])
})

test('without a broker cancels go to the server as before', async () => {
  const alone = await startGateway(`http://127.0.0.1:${await freePort()}`, replica.url)
  try {
    const through = new Client({ apiUrl: alone.url })
    const run = await begin(through, { brake: false })
    await through.runs.cancel(run.thread, run.id)
    await interrupted(through, run)
  } finally {
    await alone.stop()
  }
})
