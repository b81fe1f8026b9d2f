// The supervisor: drafts, and delegates to a researcher. An Express service around a LangGraph.js
// graph; streams to its client (server-sent events), the end of a cancelled run too.
import { randomUUID } from 'node:crypto'
import { Annotation, END, START, StateGraph } from '@langchain/langgraph'
import { SqliteSaver } from '@langchain/langgraph-checkpoint-sqlite'
import { CancelledError, withRun } from 'brakewire'
import { fenced } from 'brakewire/langgraph'
import express from 'express'
import { anyOf, noted, record, step } from './ledger.mjs'

const STEPS = 160
const add = () => Annotation({ reducer: (a, b) => a + b, default: () => 0 })
const State = Annotation.Root({ conversation: Annotation(), drafts: add(), found: add() })

async function draft(state, config) {
  await step(config.signal)
  record('supervisor', state.conversation, 'step')
  return { drafts: 1 }
}

async function delegate(state, config) {
  const answer = await fetch(`${anyOf(process.env.RESEARCHERS)}/research`, {
    method: 'POST',
    headers: config.configurable.run.headers({ 'content-type': 'application/json' }),
    body: JSON.stringify({ conversation: state.conversation }),
    signal: config.signal,
  })
  let found = 0
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    found += chunk.split('\n').length - 1
    config.writer({ found })
  }
  return { found }
}

const graph = new StateGraph(State)
  .addNode('draft', draft)
  .addNode('delegate', delegate)
  .addEdge(START, 'draft')
  .addEdge(START, 'delegate')
  .addConditionalEdges('draft', (state) => (state.drafts < STEPS ? 'draft' : END))
  .addEdge('delegate', END)
  .compile({ checkpointer: fenced(SqliteSaver.fromConnString(process.env.CHECKPOINTS)) })

const app = express()
app.use(express.json())

app.post('/chat', async (request, response) => {
  const { conversation } = request.body
  const away = new AbortController() // a client that hangs up wants no more
  response.on('close', () => away.abort())
  const say = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)

  async function answer(run) {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'brakewire-run': run.runId })
    const parts = await graph.stream({ conversation }, {
      streamMode: 'custom',
      recursionLimit: STEPS + 10,
      signal: AbortSignal.any([away.signal, run.signal]),
      configurable: { thread_id: randomUUID(), run },
    })
    for await (const part of parts) say('progress', part)
  }

  try {
    await withRun({ agent: 'supervisor', entry: true }, (run) => noted('supervisor', conversation, () => answer(run)))
    say('end', { status: 'success' })
  } catch (error) {
    say(error instanceof CancelledError ? 'cancelled' : 'error', { message: String(error) })
  }
  response.end()
})

const server = app.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` }))
})
