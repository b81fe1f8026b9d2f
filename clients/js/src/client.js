/* A client: a process' place at its agentd. It carries the runs of the process, hears the event stream
 * and obeys it, and registers its runs again with an agentd that does not know them. */
import { randomBytes, randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'

import { Agentd, Unreachable } from './agentd.js'
import { askOf } from './ask.js'
import { append } from './context.js'
import { inRun } from './current.js'
import { BrakewireError, CancelledError, errorOfAnswer, UnavailableError } from './errors.js'
import { Run } from './run.js'
import { tell } from './tell.js'
import { fromWire, toWire } from './words.js'

const AGAIN_FIRST_MS = 50
const AGAIN_MAX_MS = 2000
const REGISTER_AT_ONCE = 16
const RUNS_OWED_MAX = 10_000 // ends that no agentd has heard yet
const UNSAID_MAX = 1000
const EARLY_MAX = 10_000
const START_TRIES = 4
const LOOK_MS = 2000
const AWAY_WAIT_MS = 2000 // what a call waits for an agentd that was there

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/* Not of a shape that daemons mint: those begin with 0, or with r and have 21 characters. */
function mintId() {
  let id = 'j'
  while (id.length < 23) for (const byte of randomBytes(32)) if (byte < 248 && id.length < 23) id += alphabet[byte % 62]
  return id
}

/* Waits, without keeping the process alive. */
const pause = (ms) => new Promise((done) => setTimeout(done, ms).unref())
const jittered = (ms) => ms / 2 + Math.random() * (ms / 2)

export class Client extends EventEmitter {
  #agentd
  #runs = new Map()
  #owed = new Map() // runId -> { run, state }: ended, and not yet heard of
  #early = new Map() // told of before the answer to its start was read
  #starting = 0
  #isUp = false
  #hasWarned = false
  #isClosed = false
  #loop
  #stream
  #upWaiters = new Set()
  #lookTimer
  #unsaid = [] // cancels that no agentd has heard yet
  incarnation = randomBytes(12).toString('hex')
  token

  /* agentd: path of its socket or http://HOST:PORT (as brakectl finds it); token: the secret by which
   * an agentd knows this client, 16 to 256 characters, for who adopts runs of an earlier process;
   * timeoutMs: after so long without an answer an agentd is as good as away. */
  constructor({ agentd, token = randomBytes(24).toString('base64url'), strict = false, timeoutMs } = {}) {
    super()
    this.token = token
    this.strict = strict
    this.#agentd = new Agentd({ where: agentd, token, timeoutMs })
  }

  get agentd() {
    return this.#agentd.where
  }
  get isConnected() {
    return this.#isUp
  }
  /* The live runs of this client. */
  get runs() {
    return [...this.#runs.values()]
  }

  // ---- starting ----------------------------------------------------------------------------

  async start(options = {}) {
    if (this.#isClosed) throw new BrakewireError('this client was closed', { code: 'closed' })
    const ask = askOf(options)
    this.#listen()
    this.#starting++
    try {
      return await this.#register(ask, options.idempotencyKey ?? randomUUID())
    } finally {
      if (--this.#starting === 0) this.#early.clear()
    }
  }

  async #register(ask, key) {
    let trouble
    for (let tries = 0; tries < START_TRIES; tries++) {
      if (tries > 0) await new Promise((done) => setTimeout(done, jittered(AGAIN_FIRST_MS << tries)))
      try {
        const answer = await this.#agentd.call('POST', '/v1/runs', this.#bodyOf(ask), { headers: { 'idempotency-key': key } })
        if (answer.status < 300) return this.#started(ask, answer.json)
        trouble = errorOfAnswer(answer, 'start')
        if (trouble.code !== 'unknown_outcome') throw trouble
      } catch (error) {
        if (!(error instanceof Unreachable)) throw error
        trouble = error
        if (!error.hadConnection || error.isSilence) break
      }
    }
    if (!(trouble instanceof Unreachable)) throw trouble
    return this.#startAlone(ask, trouble)
  }

  #bodyOf(ask) {
    return { ...ask.body, incarnation: this.incarnation }
  }

  #started(ask, answer) {
    const known = this.#runs.get(answer.run_id)
    const run = known ?? new Run(this, ask, { runId: answer.run_id, root: answer.root, path: answer.path, others: ask.others })
    run._registered(answer)
    this.#runs.set(run.runId, run)
    const cancel = this.#early.get(run.runId)
    this.#early.delete(run.runId)
    if (cancel !== undefined || answer.cancel !== undefined)
      queueMicrotask(() => run._cancel(cancel ?? answer.cancel))
    return run
  }

  /* Nobody answers: the run goes on without the brake, until an agentd appears. */
  #startAlone(ask, trouble) {
    if (this.strict || ask.body.strict)
      throw new UnavailableError(`start: no agentd answers at ${this.agentd} (${trouble.message})`, { code: 'unreachable', cause: trouble })
    this.#warn(trouble)
    const runId = ask.body.run_id ?? mintId()
    const path = ask.path === null || ask.body.entry ? runId : append(ask.path, runId)
    ask.body.run_id = runId
    const place = {
      runId,
      root: path.split('.', 1)[0],
      path: path.split('.'),
      others: ask.others,
      deadlineMs: ask.body.deadline_ms ?? ask.ttlMs ?? undefined,
    }
    const run = this.#runs.get(runId) ?? new Run(this, ask, place)
    this.#runs.set(runId, run)
    return run
  }

  #warn(trouble) {
    if (this.#hasWarned) return
    this.#hasWarned = true
    const hint = trouble.code === 'EACCES' ? 'this user may not open the socket' : 'is brakewire-agentd running, and BRAKEWIRE_AGENTD right?'
    process.emitWarning(
      `no agentd answers at ${this.agentd} (${trouble.code ?? trouble.message}; ${hint}): runs go on, but cannot be cancelled from outside until one does`,
      { type: 'BrakewireWarning', code: 'BRAKEWIRE_UNPROTECTED' },
    )
  }

  /* Runs `work(run)` as a run and ends it by how that ended: returned → success, threw after the signal
   * → cancelled, else threw → error. */
  async withRun(options, work) {
    const run = await this.start(options)
    let result
    try {
      result = await inRun(run, () => work(run))
    } catch (error) {
      await endAfterThrow(run)
      throw error
    }
    await run.end('success')
    return result
  }

  /* Cancels a run of this client, or one below. */
  async cancel(runId, options = {}) {
    const run = this.#runs.get(runId)
    if (run !== undefined) return run.cancel(options)
    const path = `/v1/runs/${encodeURIComponent(runId)}/cancel`
    const answer = await this.#agentd.call('POST', path, toWire(options), cancelTimes(options))
    if (answer.status >= 300) throw errorOfAnswer(answer, `cancel of run ${runId}`)
    return fromWire(answer.json)
  }

  async _cancelScope(run, options) {
    const answer = await this._aboutRun(run, 'cancel', toWire(options), cancelTimes(options))
    if (answer === undefined) return this.#cancelHere(run, options)
    if (answer.status >= 300) throw errorOfAnswer(answer, `cancel of run ${run.runId}`)
    if (isHalfSaid(answer, options.includeSelf)) this.#sayLater(run, options)
    return fromWire(answer.json)
  }

  #sayLater(run, { action, reason, graceMs, includeSelf }) {
    if (this.#unsaid.length >= UNSAID_MAX) return
    this.#unsaid.push({ run, body: toWire({ action, reason, graceMs, includeSelf }) })
    if (this.#isUp) void this.#synchronise(this.#stream)
  }

  /* The brake works here, whatever is out of reach. */
  #cancelHere(run, options) {
    const { action = 'interrupt', reason = '', graceMs, includeSelf = true } = options
    const cancel = {
      cancel_id: `${run.root}.${run.runId}`, root: run.root, run_id: run.runId, action, reason, by: 'client',
      requested_at: new Date().toISOString(), grace_ms: graceMs,
    }
    const hit = this.runs.filter((each) => each.path.includes(run.runId) && (includeSelf || each !== run))
    this.#sayLater(run, options)
    for (const each of hit) each._cancel({ ...cancel, run: each.runId })
    return { cancelId: cancel.cancel_id, known: false, complete: false, pending: true, toldHere: hit.length }
  }

  // ---- asks about a run ---------------------------------------------------------------------

  /* The agentd's answer; undefined when there is none to ask, and none for a while. */
  async _aboutRun(run, what, body, options) {
    const until = Date.now() + AWAY_WAIT_MS
    const wasKnown = run.isKnown
    for (;;) {
      if (run.isKnown || (await this.#makeKnown(run))) {
        const answer = await this.#askOnce(run, what, body, options)
        if (answer !== undefined) return answer
      } else if (!wasKnown) {
        return undefined
      }
      const left = until - Date.now()
      if (left <= 0) return undefined
      await this.#whenUp(left)
    }
  }

  /* undefined: nobody answered, or somebody who has never heard of the run. */
  async #askOnce(run, what, body, options) {
    const path = `/v1/runs/${run.runId}/${what}`
    const epoch = what === 'cancel' ? undefined : run.epoch
    try {
      const answer = await this.#agentd.call('POST', path, { ...body, epoch }, options)
      if (!isStranger(answer)) return answer
      run._forgotten()
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error
    }
    return undefined
  }

  /* True: the agentd has the run now. */
  async #makeKnown(run) {
    if (!this.#isUp || this.#isClosed) return false
    await this.#registerAgain(run)
    return run.isKnown
  }

  async _end(run, state) {
    this.#runs.delete(run.runId)
    const wasKnown = run.isKnown
    try {
      const answer = await this._aboutRun(run, 'end', { state })
      if (answer !== undefined) return endOf(run, state, answer)
    } catch (error) {
      this.#runs.set(run.runId, run)
      throw error
    }
    if (wasKnown) this.#owe(run, state)
    return { runId: run.runId, state, pending: wasKnown }
  }

  #owe(run, state) {
    if (this.#owed.size >= RUNS_OWED_MAX) this.#owed.delete(this.#owed.keys().next().value)
    if (!this.#isClosed) this.#owed.set(run.runId, { run, state })
  }

  // ---- the stream ---------------------------------------------------------------------------

  #listen() {
    this.#loop ??= this.#listenForEver()
  }

  async #listenForEver() {
    for (let tries = 0; !this.#isClosed; tries++) {
      try {
        this.#stream = await this.#agentd.listen({ event: (name, data) => this.#heard(name, data) })
        tries = 0
        this.#hasWarned = false
        this.#setUp(true)
        void this.#synchronise(this.#stream)
        await this.#stream.closed
      } catch (error) {
        if (tries > 1 && this.#runs.size > 0) this.#warn(error)
      }
      this.#setUp(false)
      if (this.#isClosed) return
      await pause(jittered(Math.min(AGAIN_FIRST_MS << Math.min(tries, 10), AGAIN_MAX_MS)))
    }
  }

  #setUp(isUp) {
    if (this.#isUp === isUp) return
    this.#isUp = isUp
    if (!isUp) for (const run of this.#runs.values()) run._unreachable()
    for (const wake of this.#upWaiters) wake()
    this.#upWaiters.clear()
    tell(this, isUp ? 'connected' : 'disconnected')
  }

  /* Waits, and keeps the process alive for it: somebody awaits an answer. */
  #whenUp(ms) {
    if (this.#isUp) return new Promise((done) => setTimeout(done, Math.min(ms, AGAIN_FIRST_MS)))
    return new Promise((done) => {
      const timer = setTimeout(done, ms)
      this.#upWaiters.add(() => (clearTimeout(timer), done()))
    })
  }

  #heard(name, data) {
    if (name !== 'cancel') return // resync: the stream ends, and we come again
    let cancel
    try {
      cancel = JSON.parse(data)
    } catch {
      return
    }
    const run = this.#runs.get(cancel.run)
    if (run !== undefined) run._cancel(cancel)
    else if (this.#starting > 0 && this.#early.size < EARLY_MAX) this.#early.set(cancel.run, cancel)
  }

  // ---- after a connection -------------------------------------------------------------------

  /* What this agentd does not know is registered again, then what has ended is said. */
  async #synchronise(stream) {
    for (let tries = 0; this.#stream === stream && this.#isUp; tries++) {
      try {
        const listed = await this.#listed()
        const missing = this.runs.filter((run) => !listed.has(run.runId) || !run.isKnown)
        for (const run of missing) run._forgotten()
        this.#noteListed(listed)
        const isDone = await this.#inCrowd(missing, (run) => this.#registerAgain(run))
        const isSaid = await this.#sayCancels()
        const owed = [...this.#owed.values()]
        const isPaid = await this.#inCrowd(owed, (debt) => this.#payEnd(debt, listed))
        if (isDone && isSaid && isPaid) return this.#watchUnprotected()
      } catch (error) {
        if (!(error instanceof Unreachable)) return process.emitWarning(error)
      }
      await pause(jittered(Math.min(AGAIN_FIRST_MS << Math.min(tries, 10), AGAIN_MAX_MS)))
    }
  }

  #noteListed(listed) {
    for (const run of this.#runs.values()) if (listed.has(run.runId)) run._listed(listed.get(run.runId))
  }

  /* Nobody tells us that Redis is back and has our runs: while one is unprotected, we look. */
  #watchUnprotected() {
    clearTimeout(this.#lookTimer)
    const look = async () => {
      if (!this.#isUp) return
      const isNeeded = this.runs.some((run) => run.isKnown && !run.isProtected)
      if (isNeeded) this.#noteListed(await this.#listed().catch(() => new Map()))
      this.#watchUnprotected()
    }
    this.#lookTimer = setTimeout(look, jittered(LOOK_MS)).unref()
  }

  async #listed() {
    const answer = await this.#agentd.call('GET', '/v1/runs')
    const live = (answer.json?.runs ?? []).filter((run) => ['running', 'stopping', 'pending'].includes(run.state))
    return new Map(live.map((run) => [run.run_id, run]))
  }

  /* True: nothing of it is left to try again. */
  async #inCrowd(items, work) {
    const left = [...items]
    let isDone = true
    const worker = async () => {
      while (left.length > 0) isDone = (await work(left.shift())) && isDone
    }
    await Promise.all(Array.from({ length: Math.min(REGISTER_AT_ONCE, left.length) }, worker))
    return isDone
  }

  /* One at a time for a run. True: it is settled, one way or the other. */
  #registerAgain(run) {
    run._registering ??= this.#registerOnce(run).finally(() => (run._registering = undefined))
    return run._registering
  }

  async #registerOnce(run) {
    if (run.isKnown) return true
    const body = { ...this.#bodyOf(run._ask), run_id: run.runId }
    delete body.epoch // the same life comes again, it takes nothing over
    delete body.takeover
    if (run.deadlineMs !== undefined) body.deadline_ms = Math.floor(run.deadlineMs)
    let answer
    try {
      answer = await this.#agentd.call('POST', '/v1/runs', body)
    } catch (error) {
      if (error instanceof Unreachable) return false
      throw error
    }
    if (answer.status < 300) {
      run._registered(answer.json)
      if (answer.json.cancel !== undefined) run._cancel(answer.json.cancel)
      return true
    }
    return this.#refusedAgain(run, errorOfAnswer(answer, `registering run ${run.runId} again`))
  }

  /* The brake says stop by refusing; what is not about this run may pass. */
  #refusedAgain(run, error) {
    const { code } = error
    if (error instanceof CancelledError) run._cancel({ ...error.problem.cancel, run: run.runId })
    else if (code === 'over' || code === 'fenced' || code === 'conflict')
      run._cancel({ reason: code === 'over' ? `over:${error.problem.state}` : 'fenced', by: 'agentd' })
    else if (code === 'unavailable' || code === 'unknown_outcome' || code === 'overloaded') return false
    else this.#notTaken(run, error)
    return true
  }

  /* Cancels that no agentd has heard yet. True: all are said. */
  async #sayCancels() {
    for (const unsaid of [...this.#unsaid]) {
      const { run, body } = unsaid
      const answer = await this.#agentd.call('POST', `/v1/runs/${run.runId}/cancel`, body)
      const isLater = answer.status >= 500 || answer.status === 429 || isHalfSaid(answer, body.include_self)
      if (!isLater) this.#unsaid.splice(this.#unsaid.indexOf(unsaid), 1)
    }
    return this.#unsaid.length === 0
  }

  #notTaken(run, error) {
    if (this.listenerCount('refused') > 0) return tell(this, 'refused', run, error)
    process.emitWarning(`${error.message}: it goes on, but cannot be cancelled from outside`, {
      type: 'BrakewireWarning', code: 'BRAKEWIRE_REFUSED',
    })
  }

  async #payEnd({ run, state }, listed) {
    if (!listed.has(run.runId)) run._forgotten()
    try {
      if (!run.isKnown && !(await this.#registerAgain(run))) return false
      if (run.isKnown) {
        const answer = await this.#agentd.call('POST', `/v1/runs/${run.runId}/end`, { state, epoch: run.epoch })
        if (answer.status >= 500 || answer.status === 429) return false
      }
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error
      return false
    }
    this.#owed.delete(run.runId)
    return true
  }

  /* Ends nothing: the agentd notices that this client has gone, and does what `onClientGone` says. */
  close() {
    this.#isClosed = true
    clearTimeout(this.#lookTimer)
    this.#stream?.close()
    this.#agentd.close()
    this.#setUp(false)
  }
}

/* Where only this process knows of a cancel (a deadline, say), nobody records one. */
async function endAfterThrow(run) {
  if (run.signal.aborted && (await run.end('cancelled').catch(() => undefined)) !== undefined) return
  await run.end('error').catch(() => {})
}

/* An agentd that was restarted knows neither us nor the run. */
const isStranger = (answer) => answer.status === 401 || answer.json?.code === 'not_found' || answer.json?.code === 'unauthorized'

/* Out of reach of Redis an agentd keeps a cancel of a run, and of the children only those it carries: the
 * others are asked for again, and with them, as the price of it, those that have begun meanwhile. */
const isHalfSaid = (answer, includeSelf) => includeSelf === false && answer.json?.pending === true

/* A wait is answered when it is true, or when its time is over. */
const cancelTimes = ({ wait = 'none', timeoutMs = 10_000 }) => ({ waitMs: wait === 'none' ? 0 : timeoutMs })

function endOf(run, state, answer) {
  if (answer.status < 300) return fromWire({ state, ...answer.json })
  /* It had ended before, whoever said so: over is over. */
  if (answer.json?.code === 'over') return { runId: run.runId, state: answer.json.state ?? state }
  const error = errorOfAnswer(answer, `end of run ${run.runId}`)
  if (error instanceof CancelledError) return { runId: run.runId, state: 'cancelled' }
  throw error
}
