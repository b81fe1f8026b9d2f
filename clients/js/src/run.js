/* One run: its signal, its context, and what it says of itself. */
import { EventEmitter, setMaxListeners } from 'node:events'

import { format, merge, toEnvironment, toHeaders } from './context.js'
import { BrakewireError, CancelledError, errorOfAnswer, FencedError, FrozenError, UnavailableError } from './errors.js'
import { tell } from './tell.js'
import { fromWire, toWire } from './words.js'

const TIMER_MAX_MS = 2 ** 31 - 1
/* The agentd tells of a deadline first; we only where it cannot. */
const DEADLINE_SLACK_MS = 1000

const memberOf = (baggage) => baggage.split(',', 1)[0]

export class Run extends EventEmitter {
  #client
  #ask
  #abort = new AbortController()
  #isKnown = false
  #wasKnown = false
  #member
  #others
  #deadlineAt
  #deadlineTimer
  #ending
  #autoAck
  #lastWrite

  runId
  root
  path
  epoch = 0
  isProtected = false
  state = 'running'

  /* place: { runId, root, path, others, deadlineMs }, for the time in which no agentd has answered. */
  constructor(client, ask, place) {
    super()
    this.#client = client
    this.#ask = ask
    this.#autoAck = ask.autoAck
    this.#others = place.others
    this.runId = place.runId
    this.root = place.root
    this.path = place.path
    this.#member = ask.signed ?? memberOf(format({ path: place.path.join('.') }))
    this.#setDeadline(place.deadlineMs)
    setMaxListeners(0, this.#abort.signal)
  }

  /* Aborted, with a CancelledError for a reason, when the run must stop. */
  get signal() {
    return this.#abort.signal
  }

  /* Whether an agentd carries the run. */
  get isKnown() {
    return this.#isKnown
  }

  get isOver() {
    return this.#ending !== undefined
  }

  /* What is left of the deadline, if there is one. */
  get deadlineMs() {
    return this.#deadlineAt === undefined ? undefined : Math.max(0, this.#deadlineAt - Date.now())
  }

  /* The value of the baggage header for whatever this run starts. */
  get baggage() {
    const ttl = this.deadlineMs
    return merge(ttl === undefined ? this.#member : `${this.#member},brakewire-ttl=${Math.floor(ttl)}`, this.#others)
  }

  /* Headers to send on: `existing`, with our context in front of its other baggage members. */
  headers(existing) {
    return toHeaders(this.baggage, existing)
  }

  /* The environment of a process to spawn below this run. */
  environment(env = process.env) {
    const out = toEnvironment(this.baggage, env)
    delete out.BRAKEWIRE_RUN_ID // they are those of the process, not of this run
    delete out.BRAKEWIRE_ROOT
    delete out.BRAKEWIRE_EPOCH
    return out
  }

  // ---- what the client is told -------------------------------------------------------------

  /* An agentd has answered a start of this run. */
  _registered(answer) {
    this.#isKnown = this.#wasKnown = true
    this.runId = answer.run_id
    this.root = answer.root
    this.path = answer.path
    this.epoch = answer.epoch
    this.#member = memberOf(answer.baggage)
    if (answer.deadline_ms !== undefined) this.#setDeadline(answer.deadline_ms)
    this.#setProtected(answer.protected)
  }

  /* The start that made it. */
  get _ask() {
    return this.#ask
  }

  /* An agentd has listed it among the live ones. */
  _listed(listed) {
    if (listed.epoch > this.epoch) this.epoch = listed.epoch
    /* `protected` is how it was started, `confirmed` that Redis has it by now. What a cut path hides
     * stays hidden. */
    const isWhole = !(this.#ask.path ?? '').includes('..')
    this.#setProtected(listed.protected || (listed.confirmed && isWhole))
  }

  _forgotten() {
    this.#isKnown = false
  }

  #setProtected(isProtected) {
    const before = this.isProtected
    this.isProtected = isProtected
    if (before !== isProtected) tell(this, isProtected ? 'protected' : 'unprotected')
  }

  _unreachable() {
    this.#setProtected(false)
  }

  /* The run must stop; once. */
  _cancel(cancel) {
    if (this.#ending !== undefined || this.signal.aborted) return
    const error = new CancelledError({ run: this.runId, ...cancel })
    this.state = 'stopping'
    clearTimeout(this.#deadlineTimer)
    this.#abort.abort(error)
    tell(this, 'cancel', error)
    if (this.#ending !== undefined) return // a listener was quick
    if (this.#autoAck && this.#isKnown && cancel.cancel_id !== undefined)
      this.ack('acknowledged').catch(() => {}) // a lost one costs nothing but its place in the story
  }

  #setDeadline(ms) {
    clearTimeout(this.#deadlineTimer)
    this.#deadlineAt = ms === undefined ? undefined : Date.now() + ms
    const wait = ms + (this.#isKnown ? DEADLINE_SLACK_MS : 0)
    if (ms === undefined || wait > TIMER_MAX_MS) return
    const over = () => this._cancel({ reason: 'deadline', by: 'client', root: this.root, run_id: this.runId })
    this.#deadlineTimer = setTimeout(over, wait).unref()
  }

  // ---- what the run says -------------------------------------------------------------------

  async #say(what, body, doing) {
    const answer = await this.#client._aboutRun(this, what, body)
    if (answer === undefined || (answer.status >= 200 && answer.status < 300)) return answer?.json
    const error = errorOfAnswer(answer, `${doing} of run ${this.runId}`)
    if (error instanceof FencedError) this._cancel({ reason: 'fenced', by: 'agentd' })
    throw error
  }

  /* phase: acknowledged | cleaned_up | checkpointed. `acknowledged` is said by itself. */
  async ack(phase = 'acknowledged') {
    return fromWire(await this.#say('ack', { phase }, 'ack')) ?? { runId: this.runId, phases: [] }
  }

  /* May a checkpoint be written? -> { granted: true, last, unconfirmed? }. After a cancel exactly one
   * is granted (`last`). Throws FrozenError, FencedError. bytes (≤ 1 MiB) are kept beside it. */
  async fence(writeId, bytes) {
    const body = { write_id: writeId }
    if (bytes !== undefined) body.bytes = Buffer.from(bytes).toString('base64')
    const answer = await this.#say('fence', body, 'fence')
    return answer === undefined ? this.#fenceHere(writeId) : fromWire(answer)
  }

  /* Nobody to ask. Once an agentd had the run another life of it may have begun, so silence is no
   * permission; before that nobody else can write, and this process knows all that is to be known. */
  #fenceHere(writeId) {
    if (this.#wasKnown)
      throw new UnavailableError(`fence of run ${this.runId}: no agentd answers at ${this.#client.agentd}`, {
        code: 'unreachable',
      })
    if (!this.signal.aborted && this.#ending === undefined)
      return { granted: true, last: false, unconfirmed: true }
    if (this.#ending !== undefined || (this.#lastWrite ?? writeId) !== writeId)
      throw new FrozenError(`fence of run ${this.runId}: it was cancelled and has had its last checkpoint (frozen)`, {
        code: 'frozen',
      })
    this.#lastWrite = writeId
    return { granted: true, last: true, unconfirmed: true }
  }

  /* A child outside of the tree, said before it is started: { kind: 'root', to: '<root>[/<run>]' }. */
  async link(link) {
    const answer = await this.#say('links', toWire({ kind: 'root', ...link }), 'link')
    if (answer === undefined) throw this.#unreachable('link')
    return fromWire(answer)
  }

  /* Cancels this run and everything below it -> the cancel answer of docs/PROTOCOL.md section 5. Out of
   * reach of an agentd the runs of this process are told, and it hears of it later (`pending`). */
  cancel(options = {}) {
    return this.#client._cancelScope(this, options)
  }

  /* Cancels everything below this run, which goes on. */
  cancelChildren(options = {}) {
    return this.#client._cancelScope(this, { ...options, includeSelf: false })
  }

  #unreachable(doing) {
    return new BrakewireError(`${doing} of run ${this.runId}: no agentd answers at ${this.#client.agentd}`, {
      code: 'unreachable',
    })
  }

  /* state: success | error | paused | cancelled | rolled_back. -> { runId, state, finishedAnyway?,
   * pending? }: the state that was recorded. Said once; every later call answers the same. */
  end(state = 'success') {
    if (this.#ending === undefined) {
      clearTimeout(this.#deadlineTimer)
      this.#ending = this.#client._end(this, state).then((answer) => {
        this.state = answer.state ?? state
        return answer
      })
      this.#ending.catch(() => (this.#ending = undefined)) // refused: it goes on; the caller hears why
    }
    return this.#ending
  }

  /* `await using run = await start(…)`. Whether the block threw is not told: end() says more. */
  async [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
    await this.end(this.signal.aborted ? 'cancelled' : 'success')
  }
}
