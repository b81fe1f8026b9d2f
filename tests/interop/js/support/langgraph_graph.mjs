// A graph without a model: one node that works for `ticks` times 20 ms. It registers its run with
// the agentd beside it, naming its own server as the stop target, and ends it when it has stopped.
// `stubborn`: it does not look at the signal. `named`: its run bears LangGraph's own id.
import { Annotation, StateGraph } from '@langchain/langgraph'
import { setTimeout as pause } from 'node:timers/promises'
import { ask } from './stack.mjs'

const State = Annotation.Root({
  ticks: Annotation(), stubborn: Annotation(), grace: Annotation(), brake: Annotation(), named: Annotation(), done: Annotation(),
})

const agentd = process.env.AGENTD

async function register(config, { grace, named }) {
  const { thread_id: thread, run_id: run } = config.configurable
  const { status, json } = await ask(agentd, 'POST', '/v1/runs', {
    body: {
      ...(named ? { run_id: run } : {}), agent: 'worker', thread_id: thread, entry: true, labels: { langgraph_run: run },
      stop: [{ kind: 'http', preset: 'langgraph', url: globalThis.ownUrl, thread_id: thread, run_id: run, grace_ms: grace }],
    },
  })
  if (status !== 201) throw new Error(`no run: ${JSON.stringify(json)}`)
  return json
}

async function work(state, config) {
  const run = state.brake === false ? undefined : await register(config, state)
  let ticks = 0
  try {
    while (ticks < state.ticks && (state.stubborn || !config.signal.aborted)) {
      await pause(20)
      ticks++
    }
    return { done: ticks }
  } finally {
    if (run !== undefined) {
      const end = (word) => ask(agentd, 'POST', `/v1/runs/${run.run_id}/end`, { token: run.token, body: { epoch: run.epoch, state: word } })
      const { status } = await end(ticks === state.ticks ? 'success' : 'cancelled')
      if (status === 409) await end('error') // nobody cancelled it here
    }
  }
}

export const graph = new StateGraph(State)
  .addNode('work', work)
  .addEdge('__start__', 'work')
  .addEdge('work', '__end__')
  .compile()
