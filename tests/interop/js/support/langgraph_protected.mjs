// A graph that is a run, as an application would write it: two nodes, the second of which does not heed
// its signal where the state says so. The server has a checkpointer of its own.
import { Annotation, StateGraph } from '@langchain/langgraph'
import { protect } from 'brakewire/langgraph'
import { setTimeout as pause } from 'node:timers/promises'

const State = Annotation.Root({
  steps: Annotation({ reducer: (a, b) => a.concat(b), default: () => [] }), ticks: Annotation(), stubborn: Annotation(),
})

export const graph = protect(
  new StateGraph(State)
    .addNode('first', () => ({ steps: ['first'] }))
    .addNode('second', async ({ ticks, stubborn }, { signal }) => {
      for (let i = 0; i < ticks && (stubborn || !signal.aborted); i++) await pause(20)
      return { steps: ['second'] }
    })
    .addEdge('__start__', 'first')
    .addEdge('first', 'second')
    .addEdge('second', '__end__')
    .compile({ name: 'protected' }),
)
