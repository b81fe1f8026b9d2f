/* A2A (@a2a-js/sdk 1.x, and 0.3): an executor whose tasks are runs, and messages that carry the context
 * (docs/A2A-EXTENSION.md).
 *
 * Nothing is imported from the SDK. Its two versions differ in what is published: { kind:
 * 'statusUpdate', data } and numbered states in 1.x, the event itself and words in 0.3. */
import { A2A_EXTENSION, fromA2A, fromHeaders, toA2A, toHeaders } from './context.js'
import { currentRun, inRun } from './current.js'
import { CancelledError } from './errors.js'
import { defaultClient } from './index.js'

export { A2A_EXTENSION }

const STOP_WAIT_MS = 10_000

/* TaskState of 1.x in the order of its numbers, by the words of 0.3. */
const words = ['unspecified', 'submitted', 'working', 'completed', 'failed', 'canceled', 'input-required', 'rejected', 'auth-required']
const ends = { completed: 'success', failed: 'error', rejected: 'error', canceled: 'cancelled', 'input-required': 'paused', 'auth-required': 'paused' }
const terminal = new Set(['completed', 'failed', 'rejected', 'canceled'])

const wordOf = (state) => (typeof state === 'number' ? words[state] : state)

/* { isTask, state } of an event of either version. */
function read(event) {
  const isWrapped = 'data' in event
  const kind = event.kind
  const status = (isWrapped ? event.data : event).status
  return { isTask: kind === 'task' || kind === 'message', state: kind === 'message' ? 'completed' : wordOf(status?.state) }
}

/* 1.x hands over the request itself, 0.3 does not. */
const isNew = (context) => 'request' in context

function statusOf(context, word) {
  return { state: isNew(context) ? words.indexOf(word) : word, timestamp: new Date().toISOString() }
}

/* With `more` in the metadata of the task or update that it holds; other events stay as they are. */
function withMetadata(event, more) {
  const isWrapped = 'data' in event
  const held = isWrapped ? event.data : event
  if (held.status === undefined) return event
  const changed = { ...held, metadata: { ...held.metadata, [A2A_EXTENSION]: more } }
  return isWrapped ? { ...event, data: changed } : changed
}

function taskEvent(context, word) {
  const task = { id: context.taskId, contextId: context.contextId, status: statusOf(context, word), artifacts: [], history: [], metadata: {} }
  return isNew(context) ? { kind: 'task', data: task } : { kind: 'task', ...task }
}

function updateEvent(context, word) {
  const update = { taskId: context.taskId, contextId: context.contextId, status: statusOf(context, word), metadata: {} }
  return isNew(context) ? { kind: 'statusUpdate', data: update } : { kind: 'status-update', ...update, final: true }
}

/* The bus as the executor sees it: what it says of the task is noted, each word says which run it is of,
 * and nothing follows the end. */
class Said {
  hasBegun
  state = 'submitted'
  run
  cancel // the CancelledError
  pending = 0 // runs below that are not known to have stopped

  constructor(context, bus) {
    this.context = context
    this.hasBegun = !isNew(context) && context.task !== undefined
    this.target = bus
    this.bus = new Proxy(bus, {
      get: (target, name) => {
        if (name === 'publish') return (event) => this.publish(event)
        const value = Reflect.get(target, name, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }

  get isOver() {
    return terminal.has(this.state)
  }

  /* What the extension says of a task. */
  #facts() {
    const { run, cancel } = this
    const facts = {}
    if (run !== undefined)
      Object.assign(facts, { run_id: run.runId, root: run.root, state: ends[this.state] ?? (cancel ? 'stopping' : 'running') })
    if (cancel?.cancelId === undefined) return facts
    const isStopped = this.state === 'canceled' && this.pending === 0
    return { ...facts, cancel: isStopped ? 'stopped' : 'requested', cancel_id: cancel.cancelId, pending: this.pending }
  }

  publish(event) {
    if (this.isOver) return
    const { isTask, state } = read(event)
    this.hasBegun ||= isTask
    if (state !== undefined) this.state = state
    if (this.run?.signal.aborted) this.cancel = this.run.signal.reason
    this.target.publish(withMetadata(event, this.#facts()))
  }

  cancelled() {
    if (this.isOver) return
    this.publish(this.hasBegun ? updateEvent(this.context, 'canceled') : taskEvent(this.context, 'canceled'))
    this.target.finished()
  }
}

/* Where the task belongs: the HTTP header, where the SDK shows it (1.x), else the message. */
function contextOf({ context, userMessage }) {
  const header = fromHeaders(context?.state?.get?.('headers'))
  const carried = fromA2A(userMessage)
  if (carried !== undefined || context?.requestedExtensions?.includes?.(A2A_EXTENSION)) context?.addActivatedExtension?.(A2A_EXTENSION)
  const value = /(^|,)[ \t]*brakewire[ \t]*=/.test(header ?? '') ? header : (carried ?? header)
  return value === undefined ? {} : { headers: { baggage: value } }
}

/* CANCELED is a word about everything below. How many runs are not known to have stopped when the time
 * is over; one, where nobody can say. */
async function waitForAll(client, run) {
  const answer = await client.cancel(run.runId, { wait: 'stopped', timeoutMs: STOP_WAIT_MS }).catch(() => undefined)
  if (answer?.complete) return 0
  const { pending = 0, lost = 0 } = answer?.counts ?? {}
  return Math.max(1, pending + lost)
}

/* It was told to stop, and has stopped before it said how its task ended. */
async function endCancelled(client, run, said) {
  await run.end('cancelled').catch(() => run.end('error').catch(() => {}))
  if (run.isKnown) said.pending = await waitForAll(client, run)
  said.cancelled()
}

async function endRun(run, said, error) {
  const state = error !== undefined && !said.isOver ? 'error' : (ends[said.state] ?? 'success')
  if (state === 'cancelled' && !run.signal.aborted)
    await run.cancel({ reason: 'the task was canceled' }) // by its agent: what is below it stops as well
  return run.end(state)
}

class Protected {
  #executor
  #options
  #tasks = new Map() // task id -> what was said of it

  constructor(executor, options) {
    this.#executor = executor
    this.#options = options
  }

  #clientAndOptions(context) {
    const { client = defaultClient(), ...asked } =
      typeof this.#options === 'function' ? this.#options(context) : this.#options
    const named = { threadId: context.contextId, aliases: { a2a: context.taskId } }
    return { client, asked: { ...named, ...contextOf(context), ...asked } }
  }

  async execute(context, bus) {
    const said = new Said(context, bus)
    const { client, asked } = this.#clientAndOptions(context)
    try {
      said.run = await client.start(asked)
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error
      said.cancel = error
      return said.cancelled() // what is above was cancelled before it began
    }
    const { run } = said
    this.#tasks.set(context.taskId, said)
    let fault
    try {
      await inRun(run, () => this.#executor.execute(context, said.bus, run))
    } catch (error) {
      fault = error
    }
    this.#tasks.delete(context.taskId)
    if (run.signal.aborted && !said.isOver) return endCancelled(client, run, said)
    await endRun(run, said, fault).catch(() => {}) // the task is over, whatever became of its record
    if (fault !== undefined && !said.isOver) throw fault
  }

  /* A client of A2A cancels here what any broker could: the whole of the run. The task is CANCELED when
   * its execution has returned, and all below it has stopped. */
  async cancelTask(taskId, bus) {
    const said = this.#tasks.get(taskId)
    if (said !== undefined) await said.run.cancel({ reason: 'canceled by its A2A client' })
    await this.#executor.cancelTask?.(taskId, said?.bus ?? bus)
  }
}

/* The same executor, each of whose executions is a run below the one that the message, or its request's
 * baggage header, names. execute(requestContext, eventBus, run) gets the run as a third argument, and
 * it is the current run. When it was told to stop and returns, or throws, before it has published a
 * terminal state, and all below it has stopped (after 10 s at the latest, then its metadata says what is
 * pending), the task is published as canceled. options: those of start(), or a function of the
 * request context that answers them; `client` for another client than the default one. */
export function protect(executor, options = {}) {
  return new Protected(executor, options)
}

/* A copy of a message that says which run sends it. */
export function withContext(message, run = currentRun()) {
  return run === undefined ? message : toA2A(run.baggage, message)
}

const sends = new Set(['sendMessage', 'sendMessageStream'])

/* What 1.0 and 0.3 call it. */
const extensionHeaders = ['A2A-Extensions', 'X-A2A-Extensions']

function withExtension(parameters) {
  const out = { ...parameters }
  for (const name of extensionHeaders) {
    const named = (out[name] ?? '').split(',').map((uri) => uri.trim()).filter((uri) => uri !== '')
    out[name] = [...new Set([...named, A2A_EXTENSION])].join(', ')
  }
  return out
}

/* For the `interceptors` of a client's config: what it sends carries the context of `run`, else of the
 * current run, in its messages and in the headers of its requests. */
export function interceptor(run) {
  return {
    async before(args) {
      const sender = run ?? currentRun()
      if (sender === undefined || !sends.has(args.input.method)) return
      args.input.value = { ...args.input.value, message: withContext(args.input.value.message, sender) }
      const parameters = withExtension(args.options?.serviceParameters)
      args.options = { ...args.options, serviceParameters: toHeaders(sender.baggage, parameters) }
    },
    async after() {},
  }
}
