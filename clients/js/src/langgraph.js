/* LangGraph.js: graphs whose invocations are runs, and checkpointers that ask before they write.
 *
 *     const graph = protect(builder.compile({ checkpointer: fenced(saver) }))
 *
 * Nothing is imported from LangGraph: what is used of it is what it gives to us. */
import { createHash } from 'node:crypto'

import { currentRun, inRun } from './current.js'
import { CancelledError, FencedError, FrozenError } from './errors.js'
import { defaultClient } from './index.js'

const NOTICE_WAIT_MS = 1000 // the fence may know of a cancel a moment before we are told
const isProtected = Symbol('brakewire.isProtected')
const isFenced = Symbol('brakewire.isFenced')
const isWatched = Symbol('brakewire.isWatched')

// ---- what still runs -------------------------------------------------------------------------

/* LangGraph gives up a node that does not heed its signal; the node runs on. A run is over when the
 * last of its nodes is, so we count them. */
const working = new WeakMap() // run -> { count, wake }

function workOf(run) {
  if (!working.has(run)) working.set(run, { count: 0, wake: new Set() })
  return working.get(run)
}

function counted(run, promise) {
  const work = workOf(run)
  const done = () => {
    if (--work.count > 0) return
    for (const wake of work.wake) wake()
    work.wake.clear()
  }
  work.count++
  promise.then(done, done)
  return promise
}

const isIdle = (run) => workOf(run).count === 0
const whenIdle = (run) => (isIdle(run) ? Promise.resolve() : new Promise((wake) => workOf(run).wake.add(wake)))

function watch(callable) {
  if (callable[isWatched]) return
  const { func } = callable
  callable[isWatched] = true
  callable.func = function (...args) {
    const run = currentRun()
    const result = func.apply(this, args)
    return run !== undefined && typeof result?.then === 'function' ? counted(run, result) : result
  }
}

function watchNodes(graph) {
  for (const { bound } of Object.values(graph.nodes ?? {})) {
    if (typeof bound?.func === 'function') watch(bound)
    else if (bound?.lg_is_pregel && bound !== graph) watchNodes(bound)
  }
}

// ---- graphs ----------------------------------------------------------------------------------

/* Any of `signals` that there are, as one. */
function anyOf(...signals) {
  const there = signals.filter((signal) => signal != null)
  return there.length > 1 ? AbortSignal.any(there) : there[0]
}

function optionsOf(graph, config, given) {
  const { thread_id: threadId, baggage } = config?.configurable ?? {}
  const named = { agent: graph.getName?.() ?? graph.name }
  if (threadId !== undefined) named.threadId = String(threadId)
  if (typeof baggage === 'string') named.baggage = baggage
  return { ...named, ...(typeof given === 'function' ? given(config) : given) }
}

/* A chunk is the payload, or an array that ends in it. */
function saysInterrupted(chunk) {
  const payload = Array.isArray(chunk) ? chunk.at(-1) : chunk
  return payload !== null && typeof payload === 'object' && '__interrupt__' in payload
}

const isTold = (run) =>
  run.signal.aborted ||
  new Promise((done) => {
    const timer = setTimeout(() => done(false), NOTICE_WAIT_MS)
    run.signal.addEventListener('abort', () => (clearTimeout(timer), done(true)), { once: true })
  })

/* What the caller is thrown: why the run was cancelled, where that is why it failed. */
async function reasonOf(run, error) {
  const isFence = error instanceof FrozenError || error instanceof FencedError
  if (!(isFence ? await isTold(run) : run.signal.aborted) || error instanceof CancelledError) return error
  run.signal.reason.cause ??= error
  return run.signal.reason
}

/* Out of reach of a caller: who has left reads no answer. */
const endQuietly = (run, state) => run.end(state).catch(() => run.end('error').catch(() => {}))

/* The caller aborted, or reads no more: what is below stops as well. */
async function stopFor(run) {
  if (run.isOver || run.signal.aborted) return
  await run.cancel({ reason: 'its caller left' }).catch(() => {})
}

async function finish(run, state) {
  const isOverNow = isIdle(run)
  const end = whenIdle(run).then(() => endQuietly(run, state))
  if (isOverNow) await end
}

async function* streamAsRun(graph, stream, run, config) {
  const leave = new AbortController()
  const signal = anyOf(config?.signal, run.signal, leave.signal)
  let leaving // the abort also fails what waits for it: the cancel is to be said before the end
  const callerLeft = () => (leaving = stopFor(run).then(() => finish(run, 'cancelled')))
  config?.signal?.addEventListener('abort', callerLeft, { once: true })
  let isInterrupted = false
  let isDone = false
  try {
    const chunks = inRun(run, () => stream({ ...config, signal }))
    for (;;) {
      const { done, value } = await inRun(run, () => chunks.next())
      if (done) break
      isInterrupted ||= saysInterrupted(value)
      yield value
    }
    isDone = true
  } catch (error) {
    isDone = true
    await leaving
    const reason = await reasonOf(run, error)
    if (leaving === undefined) await finish(run, run.signal.aborted ? 'cancelled' : 'error')
    throw reason
  } finally {
    config?.signal?.removeEventListener('abort', callerLeft)
    if (!isDone) {
      leave.abort(new Error('nobody reads on'))
      await stopFor(run)
      await finish(run, 'cancelled')
    }
  }
  await finish(run, isInterrupted ? 'paused' : 'success')
}

/* A server (the LangGraph one does) may give the graph another checkpointer later: that asks, too. */
function fenceItsCheckpointer(graph) {
  let saver
  const set = (given) => {
    saver = typeof given?.putWrites === 'function' && !given[isFenced] ? fenced(given) : given
  }
  set(graph.checkpointer)
  Object.defineProperty(graph, 'checkpointer', { get: () => saver, set, enumerable: true, configurable: true })
}

/* The same graph, each of whose invocations (invoke, stream, batch, streamEvents, also as a subgraph)
 * is a run below the current one. options: those of start(), or a function of the config that answers
 * them; `client` for another client than the default one. */
export function protect(graph, options = {}) {
  if (graph[isProtected]) return graph
  watchNodes(graph)
  fenceItsCheckpointer(graph)
  const { _streamIterator: streamIterator, withConfig } = graph
  graph[isProtected] = true
  graph._streamIterator = async function* (input, config) {
    const { client = defaultClient(), ...asked } = optionsOf(graph, config, options)
    config?.signal?.throwIfAborted()
    const run = await client.start(asked)
    yield* streamAsRun(graph, (changed) => streamIterator.call(this, input, changed), run, config)
  }
  if (withConfig !== undefined) graph.withConfig = (config) => protect(withConfig.call(graph, config), options)
  return graph
}

/* A node that is a run of its own: work(state, config, run), whose config.signal is aborted with it. */
export function node(work, options = {}) {
  const { client, ...asked } = options
  return (state, config) => {
    const named = { agent: work.name || 'node', ...asked }
    return (client ?? defaultClient()).withRun(named, (run) =>
      work(state, { ...config, signal: anyOf(config?.signal, run.signal) }, run),
    )
  }
}

// ---- checkpointers ---------------------------------------------------------------------------

/* Of all that is written in the step behind one checkpoint: what is granted once is granted for it. */
function writeIdOf(config) {
  const { thread_id: thread = '', checkpoint_ns: namespace = '', checkpoint_id: id = '' } = config?.configurable ?? {}
  return `langgraph:${createHash('sha256').update([thread, namespace, id].join('\0')).digest('hex').slice(0, 40)}`
}

const frozen = (run) =>
  new FrozenError(`run ${run.runId} was cancelled: no writes of single tasks`, { code: 'frozen' })

/* The same checkpointer, which asks the fence of the run before it writes: that of `run`, else of the
 * current one, and without a run it writes as ever. Of a run that was cancelled it stores no writes of
 * single tasks and one last checkpoint; of one that another process has taken over, nothing. What it
 * does not store throws FrozenError or FencedError. */
export function fenced(saver, { run: given } = {}) {
  const runHere = () => given ?? currentRun()
  const ours = {
    async put(config, ...rest) {
      const run = runHere()
      if (run !== undefined) await run.fence(writeIdOf(config))
      return saver.put(config, ...rest)
    },
    async putWrites(config, ...rest) {
      const run = runHere()
      if (run?.signal.aborted) throw frozen(run)
      if (run !== undefined && (await run.fence(writeIdOf(config))).last) throw frozen(run)
      return saver.putWrites(config, ...rest)
    },
  }
  return new Proxy(saver, {
    get(target, name) {
      if (name === isFenced) return true
      if (Object.hasOwn(ours, name)) return ours[name]
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' && name !== 'constructor' ? value.bind(target) : value
    },
  })
}
