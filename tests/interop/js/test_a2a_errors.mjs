// The A2A face by hand: what every wrong request is answered, byte for byte what the SDKs go by.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { ask, startStack } from './support/stack.mjs'
import { startRun } from './support/runs.mjs'

const uri = 'https://brakewire.dev/a2a/ext/run-context/v1'
const info = (reason) => [{ '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason, domain: 'a2a-protocol.org' }]
let stack, done
before(async () => {
  stack = await startStack()
  done = await startRun(stack.agentds[0])
  await done.end('success')
})
after(() => stack.stop())

const post = (body, version, { path = '/a2a', headers = {} } = {}) =>
  ask(stack.broker, 'POST', path, { body, headers: { ...(version && { 'a2a-version': version }), ...headers } })
const call = (method, params, version, more) => post({ jsonrpc: '2.0', id: 'q-1', method, params }, version, more)

async function refused(answer, code, reason) {
  const { status, json, headers } = await answer
  assert.equal(status, 200) // whatever it is, over JSON-RPC
  assert.equal(headers['content-type'], 'application/json')
  assert.equal(json.jsonrpc, '2.0')
  assert.equal(json.error.code, code, JSON.stringify(json))
  assert.ok(json.error.message)
  assert.deepEqual(json.error.data, reason && info(reason))
  assert.equal('result' in json, false)
  return json
}

describe('JSON-RPC', () => {
  test('an error repeats the id of its request, whatever it is', async () => {
    for (const id of ['q', 7, null]) {
      const json = await refused(post({ jsonrpc: '2.0', id, method: 'GetTask', params: { id: 'x' } }, '1.0'), -32001, 'TASK_NOT_FOUND')
      assert.equal(json.id, id)
    }
    // a notification is answered, too
    const json = await refused(post({ jsonrpc: '2.0', method: 'tasks/get', params: { id: 'x' } }), -32001)
    assert.equal(json.id, null)
  })

  test('what is no request', async () => {
    for (const version of ['1.0', undefined]) {
      assert.equal((await refused(post('{"jsonrpc":', version), -32700)).id, null)
      await refused(post('', version), -32700)
      await refused(post([{ jsonrpc: '2.0', id: 1, method: 'GetTask', params: { id: 'x' } }], version), -32600)
      await refused(post('"GetTask"', version), -32600)
      await refused(post({ id: 1, method: 'GetTask', params: { id: 'x' } }, version), -32600)
      await refused(post({ jsonrpc: '1.0', id: 1, method: 'GetTask', params: { id: 'x' } }, version), -32600)
      await refused(post({ jsonrpc: '2.0', id: 1, method: 7, params: { id: 'x' } }, version), -32600)
      await refused(post({ jsonrpc: '2.0', id: {}, method: 'GetTask', params: { id: 'x' } }, version), -32600)
    }
  })

  test('each version has its own methods', async () => {
    await refused(call('tasks/cancel', { id: 'x' }, '1.0'), -32601)
    await refused(call('CancelTask', { id: 'x' }), -32601)
    await refused(call('CancelTask', { id: 'x' }, '0.3'), -32601)
    await refused(call('nonsense', { id: 'x' }, '1.0'), -32601)
    await refused(call('CancelTask', { id: 'x' }, '2.0'), -32009, 'VERSION_NOT_SUPPORTED')
    await refused(call('CancelTask', { id: 'x' }, '1.0', { path: '/a2a/' }), -32001, 'TASK_NOT_FOUND')
    await refused(call('CancelTask', { id: 'x' }, undefined, { path: '/a2a?A2A-Version=1.0' }), -32001, 'TASK_NOT_FOUND')
  })

  test('params', async () => {
    for (const [method, version] of [['CancelTask', '1.0'], ['tasks/cancel', '0.3'], ['SubscribeToTask', '1.0'], ['tasks/get', undefined]]) {
      for (const params of [undefined, null, [], 'x', {}, { id: '' }, { id: null }, { id: true }, { id: {} }])
        await refused(call(method, params, version), -32602)
      const reason = version === '1.0' ? 'TASK_NOT_FOUND' : undefined
      for (const id of [5, 'ü', 'a b', 'x'.repeat(128), 'x'.repeat(129)]) await refused(call(method, { id }, version), -32001, reason)
    }
    const mcp = await refused(call('tasks/cancel', { taskId: 'x' }), -32602)
    assert.match(mcp.error.message, /MCP/)
    for (const metadata of [7, { [uri]: 7 }, { [uri]: { reason: 7 } }, { [uri]: { action: 'explode' } }, { [uri]: { grace_ms: -1 } }, { [uri]: { reason: 'x'.repeat(1025) } }])
      await refused(call('CancelTask', { id: 'x', metadata }, '1.0'), -32602)
    await refused(call('CancelTask', { id: 'x', metadata: { other: 7, [uri]: { reason: 'x', more: 7 } } }, '1.0'), -32001, 'TASK_NOT_FOUND')
  })

  test('what is not for tasks of ours', async () => {
    const of = { '-32004': 'UNSUPPORTED_OPERATION', '-32003': 'PUSH_NOTIFICATION_NOT_SUPPORTED', '-32007': 'EXTENDED_AGENT_CARD_NOT_CONFIGURED' }
    for (const [now, old, code] of [
      ['SendMessage', 'message/send', -32004], ['SendStreamingMessage', 'message/stream', -32004],
      ['CreateTaskPushNotificationConfig', 'tasks/pushNotificationConfig/set', -32003],
      ['GetTaskPushNotificationConfig', 'tasks/pushNotificationConfig/get', -32003],
      ['ListTaskPushNotificationConfigs', 'tasks/pushNotificationConfig/list', -32003],
      ['DeleteTaskPushNotificationConfig', 'tasks/pushNotificationConfig/delete', -32003],
      ['GetExtendedAgentCard', 'agent/getAuthenticatedExtendedCard', -32007],
    ]) {
      await refused(call(now, {}, '1.0'), code, of[code])
      await refused(call(old, {}), code)
    }
    await refused(call('ListTasks', {}, '1.0'), -32004, of['-32004'])
  })

  test('a task that is over', async () => {
    await refused(call('CancelTask', { id: done.id }, '1.0'), -32002, 'TASK_NOT_CANCELABLE')
    await refused(call('tasks/cancel', { id: done.id }), -32002)
    await refused(call('SubscribeToTask', { id: done.id }, '1.0'), -32004, 'UNSUPPORTED_OPERATION')
  })

  test('the content type', async () => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'GetTask', params: { id: done.id } })
    const as = (type) => post(body, '1.0', { headers: { 'content-type': type } })
    await refused(as('text/plain'), -32005, 'CONTENT_TYPE_NOT_SUPPORTED')
    for (const type of ['application/json', 'application/JSON; charset=utf-8', 'application/a2a+json'])
      assert.equal((await as(type)).json.result.status.state, 'TASK_STATE_COMPLETED')
  })

  test('other HTTP methods', async () => {
    const { status, headers } = await ask(stack.broker, 'GET', '/a2a')
    assert.equal(status, 405)
    assert.equal(headers.allow, 'POST')
  })
})

describe('REST', () => {
  const rest = (method, path, version, more = {}) =>
    ask(stack.broker, method, path, { ...more, headers: { ...(version && { 'a2a-version': version }), ...more.headers } })

  async function says(answer, status, code, word, reason) {
    const { status: got, json, headers } = await answer
    assert.equal(got, status, JSON.stringify(json))
    assert.equal(headers['content-type'], 'application/a2a+json')
    const { message, ...error } = json.error
    assert.ok(message)
    assert.deepEqual(error, { code: status, status: word, ...(reason && { details: info(reason) }) })
  }
  async function saysOld(answer, status, code, type) {
    const { status: got, json, headers } = await answer
    assert.equal(got, status, JSON.stringify(json))
    assert.equal(headers['content-type'], 'application/json')
    const { message, ...error } = json
    assert.ok(message)
    assert.deepEqual(error, { code, type })
  }

  test('1.0', async () => {
    for (const base of ['', '/a2a']) {
      await says(rest('GET', `${base}/tasks/x`, '1.0'), 404, -32001, 'NOT_FOUND', 'TASK_NOT_FOUND')
      await says(rest('POST', `${base}/tasks/x:cancel`, '1.0'), 404, -32001, 'NOT_FOUND', 'TASK_NOT_FOUND')
      await says(rest('POST', `${base}/tasks/x%3Acancel`, '1.0'), 404, -32001, 'NOT_FOUND', 'TASK_NOT_FOUND')
      await says(rest('GET', `${base}/tasks/x:subscribe`, '1.0'), 404, -32001, 'NOT_FOUND', 'TASK_NOT_FOUND')
      await says(rest('POST', `${base}/tasks/${done.id}:cancel`, '1.0'), 400, -32002, 'FAILED_PRECONDITION', 'TASK_NOT_CANCELABLE')
      await says(rest('POST', `${base}/tasks/${done.id}:subscribe`, '1.0'), 400, -32004, 'FAILED_PRECONDITION', 'UNSUPPORTED_OPERATION')
      await says(rest('POST', `${base}/message:send`, '1.0', { body: {} }), 400, -32004, 'FAILED_PRECONDITION', 'UNSUPPORTED_OPERATION')
      await says(rest('GET', `${base}/tasks`, '1.0'), 400, -32004, 'FAILED_PRECONDITION', 'UNSUPPORTED_OPERATION')
      await says(rest('GET', `${base}/tasks/x/pushNotificationConfigs/y`, '1.0'), 400, -32003, 'FAILED_PRECONDITION', 'PUSH_NOTIFICATION_NOT_SUPPORTED')
      await says(rest('GET', `${base}/extendedAgentCard`, '1.0'), 400, -32007, 'FAILED_PRECONDITION', 'EXTENDED_AGENT_CARD_NOT_CONFIGURED')
      await says(rest('GET', `${base}/tasks/x`, '3.0'), 400, -32009, 'FAILED_PRECONDITION', 'VERSION_NOT_SUPPORTED')
      await says(rest('GET', `${base}/tasks/x?A2A-Version=1.0`), 404, -32001, 'NOT_FOUND', 'TASK_NOT_FOUND')
    }
    const cancel = (body, headers) => rest('POST', '/tasks/x:cancel', '1.0', { body, headers })
    await says(cancel('{'), 400, -32700, 'INVALID_ARGUMENT')
    await says(cancel('[]'), 400, -32600, 'INVALID_ARGUMENT')
    await says(cancel({ metadata: 7 }), 400, -32602, 'INVALID_ARGUMENT')
    await says(cancel('x', { 'content-type': 'text/plain' }), 400, -32005, 'INVALID_ARGUMENT', 'CONTENT_TYPE_NOT_SUPPORTED')
    for (const body of ['', 'null', '{}', ' \n', { id: 'x', tenant: '', metadata: {} }])
      await says(cancel(body), 404, -32001, 'NOT_FOUND', 'TASK_NOT_FOUND')
  })

  test('0.3', async () => {
    await saysOld(rest('GET', '/v1/tasks/x'), 404, -32001, 'TaskNotFoundError')
    await saysOld(rest('POST', '/v1/tasks/x:cancel/'), 404, -32001, 'TaskNotFoundError')
    await saysOld(rest('POST', `/a2a/v1/tasks/${done.id}:cancel`, '0.3'), 409, -32002, 'TaskNotCancelableError')
    await saysOld(rest('POST', '/v1/message:stream', '', { body: {} }), 400, -32004, 'UnsupportedOperationError')
    await saysOld(rest('GET', '/v1/card'), 400, -32007, 'ExtendedAgentCardNotConfiguredError')
    await saysOld(rest('POST', '/v1/tasks/x:cancel', '', { body: 'x', headers: { 'content-type': 'text/plain' } }), 415, -32005, 'ContentTypeNotSupportedError')
    await saysOld(rest('POST', '/v1/tasks/x:cancel', '', { body: '{' }), 400, -32700, 'JSONParseError')
  })

  test('other HTTP methods, other paths', async () => {
    const status = async (method, path) => (await rest(method, path, '1.0')).status
    assert.equal(await status('GET', '/tasks/x:cancel'), 405)
    assert.equal(await status('DELETE', '/tasks/x'), 405)
    assert.equal(await status('GET', '/a2atasks/x'), 404)
    assert.equal(await status('GET', '/tasks/x/more'), 404)
    assert.equal(await status('GET', '/tasks/'), 400) // the list
  })
})

test('the card is one for both versions, where the client reaches us', async () => {
  const get = (path, headers) => ask(stack.broker, 'GET', path, { headers })
  const { json: card } = await get('/.well-known/agent-card.json')
  assert.deepEqual((await get('/.well-known/agent.json')).json, card)
  assert.equal(card.url, `${stack.broker.replace(/\/$/, '')}/a2a`)
  assert.deepEqual(card.supportedInterfaces.map((one) => `${one.protocolBinding} ${one.protocolVersion}`),
    ['JSONRPC 1.0', 'HTTP+JSON 1.0', 'JSONRPC 0.3', 'HTTP+JSON 0.3'])
  assert.equal(card.protocolVersion, '0.3.0')
  assert.equal(card.preferredTransport, 'JSONRPC')
  assert.equal(card.capabilities.streaming, true)
  assert.deepEqual(card.capabilities.extensions.map(({ uri: of, required, params }) => ({ of, required, params })),
    [{ of: uri, required: false, params: { carriers: ['baggage', 'metadata'], cancel: 'tree' } }])
  assert.equal((await get('/.well-known/agent-card.json', { host: 'agents.example' })).json.url, 'http://agents.example/a2a')
  assert.equal((await get('/.well-known/agent-card.json', { host: 'a"b' })).json.url, 'http://localhost/a2a')
})

test('the words of the states', async () => {
  const run = await startRun(stack.agentds[0], { run_id: 'spelt-out' })
  const state = async (answer) => { const { json } = await answer; return (json.result ?? json).status.state }
  const all = () => Promise.all([
    call('GetTask', { id: run.id }, '1.0'), ask(stack.broker, 'GET', `/tasks/${run.id}`, { headers: { 'a2a-version': '1.0' } }),
    call('tasks/get', { id: run.id }), ask(stack.broker, 'GET', `/v1/tasks/${run.id}`),
  ].map(state))
  assert.deepEqual(await all(), ['TASK_STATE_WORKING', 'TASK_STATE_WORKING', 'working', 'TASK_STATE_WORKING'])
  await Promise.all([
    call('CancelTask', { id: run.id, metadata: { [uri]: { reason: 'spelling', action: 'rollback', grace_ms: 5000 } } }, '1.0'),
    run.stopping().then(({ cancel }) => {
      assert.deepEqual([cancel.reason, cancel.action, cancel.grace_ms, cancel.by], ['spelling', 'rollback', 5000, 'a2a'])
      return run.end('rolled_back')
    }),
  ])
  assert.deepEqual(await all(), ['TASK_STATE_CANCELED', 'TASK_STATE_CANCELED', 'canceled', 'TASK_STATE_CANCELLED'])
})
