// Runs as an agent's client would carry them, straight over the API of an agentd.
import assert from 'node:assert/strict'
import { ask, until } from './stack.mjs'

/** Register a run. → { id, token, epoch, … , ack(), end(state), stopping(), obey() } */
export async function startRun(agentd, body = {}) {
  const start = await ask(agentd, 'POST', '/v1/runs', { body: { agent: 'tested', ...body } })
  assert.equal(start.status, 201, start.text)
  const { run_id: id, token, epoch } = start.json
  const call = async (what, members) => {
    const answer = await ask(agentd, 'POST', `/v1/runs/${id}/${what}`, { token, body: { epoch, ...members } })
    assert.equal(answer.status, 200, answer.text)
    return answer.json
  }
  const run = {
    ...start.json, id,
    ack: () => call('ack', { phase: 'acknowledged' }),
    end: (state) => call('end', { state }),
    /** Wait until it was told to stop. */
    stopping: () => until(async () => {
      const { json } = await ask(agentd, 'GET', `/v1/runs/${id}`, { token })
      return json.state === 'stopping' && json
    }),
    /** What a good agent does: stop when told. */
    async obey() {
      await run.stopping()
      await run.ack()
      return run.end('cancelled')
    },
  }
  return run
}
