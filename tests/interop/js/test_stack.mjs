// What the other tests stand on: a run that was registered beside one agentd is cancelled by the
// broker, and is told.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ask, startStack, until } from './support/stack.mjs'

let stack
before(async () => { stack = await startStack({ agentds: 2 }) })
after(() => stack.stop())

test('a run of each agentd is seen by the broker and cancelled', async () => {
  for (const agentd of stack.agentds) {
    const start = await ask(agentd, 'POST', '/v1/runs', { body: { agent: 'hello', entry: true } })
    assert.equal(start.status, 201)
    const { run_id: id, token } = start.json
    const cancel = await ask(stack.broker, 'POST', `/v1/runs/${id}/cancel`, { body: { reason: 'enough' } })
    assert.equal(cancel.status, 202)
    const run = await until(async () => {
      const { json } = await ask(agentd, 'GET', `/v1/runs/${id}`, { token })
      return json.state === 'stopping' && json
    })
    assert.equal(run.cancel.reason, 'enough')
  }
})
