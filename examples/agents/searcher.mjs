// The sub-sub-agent: searches for eight seconds, one step after the other, if nobody stops it. An
// A2A agent (@a2a-js/sdk) around a LangGraph.js graph, with a checkpoint after each step.
import { TaskState } from '@a2a-js/sdk'
import { AgentEvent, DefaultRequestHandler, InMemoryTaskStore } from '@a2a-js/sdk/server'
import { agentCardHandler, jsonRpcHandler, UserBuilder } from '@a2a-js/sdk/server/express'
import { Annotation, END, START, StateGraph } from '@langchain/langgraph'
import { SqliteSaver } from '@langchain/langgraph-checkpoint-sqlite'
import { CancelledError, withRun } from 'brakewire'
import { fenced } from 'brakewire/langgraph'
import express from 'express'
import { noted, record, step } from './ledger.mjs'

const STEPS = 160
const State = Annotation.Root({ steps: Annotation({ reducer: (a, b) => a + b, default: () => 0 }) })

async function search(state, config) {
  await step(config.signal)
  record('searcher', config.configurable.conversation, 'step')
  config.configurable.progress(state.steps + 1)
  return { steps: 1 }
}

const graph = new StateGraph(State)
  .addNode('search', search)
  .addEdge(START, 'search')
  .addConditionalEdges('search', (state) => (state.steps < STEPS ? 'search' : END))
  .compile({ checkpointer: fenced(SqliteSaver.fromConnString(process.env.CHECKPOINTS)) })

const status = (request, state) => ({
  taskId: request.taskId,
  contextId: request.contextId,
  status: { state, message: undefined, timestamp: new Date().toISOString() },
  metadata: undefined,
})

const executor = {
  async execute(request, bus) {
    const say = (state) => bus.publish(AgentEvent.statusUpdate(status(request, state)))
    bus.publish(AgentEvent.task({
      id: request.taskId,
      contextId: request.contextId,
      status: { state: TaskState.TASK_STATE_SUBMITTED, message: undefined, timestamp: new Date().toISOString() },
      artifacts: [],
      history: [request.userMessage],
      metadata: undefined,
    }))
    const conversation = request.userMessage.parts[0].content.value
    const search = (run) => graph.invoke({}, {
      recursionLimit: STEPS + 10,
      signal: run.signal,
      configurable: {
        thread_id: request.taskId,
        conversation,
        progress: () => say(TaskState.TASK_STATE_WORKING),
      },
    })
    try {
      const headers = request.context.state.get('headers')
      await withRun({ agent: 'searcher', runId: request.taskId, headers }, (run) => noted('searcher', conversation, () => search(run)))
      say(TaskState.TASK_STATE_COMPLETED)
    } catch (error) {
      say(error instanceof CancelledError ? TaskState.TASK_STATE_CANCELED : TaskState.TASK_STATE_FAILED)
    }
    bus.finished()
  },
  // As the SDK's own samples do it: who asks this replica is answered, the work goes on.
  async cancelTask(taskId, bus) {
    bus.publish(AgentEvent.statusUpdate(status({ taskId, contextId: '' }, TaskState.TASK_STATE_CANCELED)))
  },
}

const app = express()
const server = app.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}`
  const card = {
    name: 'searcher', description: 'searches', version: '1.0.0',
    supportedInterfaces: [{ url: `${url}/a2a`, protocolBinding: 'JSONRPC', protocolVersion: '1.0', tenant: '' }],
    provider: undefined, documentationUrl: undefined, iconUrl: undefined,
    capabilities: { streaming: true, pushNotifications: false, extensions: [], extendedAgentCard: false },
    securitySchemes: {}, securityRequirements: [], signatures: [],
    defaultInputModes: ['text/plain'], defaultOutputModes: ['text/plain'], skills: [],
  }
  const handler = new DefaultRequestHandler(card, new InMemoryTaskStore(), executor)
  app.use('/.well-known/agent-card.json', agentCardHandler({ agentCardProvider: handler }))
  app.use('/a2a', jsonRpcHandler({ requestHandler: handler, userBuilder: UserBuilder.noAuthentication }))
  console.log(JSON.stringify({ url }))
})
