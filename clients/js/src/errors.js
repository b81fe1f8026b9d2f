/* What can be wrong. `code` is stable: one of docs/PROTOCOL.md section 5, or one of ours:
 * `unreachable` (no agentd answers) and `closed` (this client was closed). */

export class BrakewireError extends Error {
  constructor(message, { code, status, detail, retryAfterMs, problem, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = new.target.name
    this.code = code
    this.status = status
    this.detail = detail
    this.retryAfterMs = retryAfterMs
    this.problem = problem
  }
}

/* The run must stop. It is the reason of `run.signal`, and what start() throws in a cancelled scope. */
export class CancelledError extends BrakewireError {
  constructor(cancel = {}, more = {}) {
    const because = cancel.reason ? `: ${cancel.reason}` : ''
    const by = cancel.by ? ` by ${cancel.by}` : ''
    super(`run cancelled${by}${because}`, { code: 'cancelled', ...more })
    this.cancelId = cancel.cancel_id
    this.root = cancel.root
    this.target = cancel.run_id
    this.run = cancel.run
    this.action = cancel.action ?? 'interrupt'
    this.reason = cancel.reason ?? ''
    this.by = cancel.by ?? ''
    this.graceMs = cancel.grace_ms
    this.requestedAt = cancel.requested_at
    this.traceId = cancel.trace_id
  }
}

/* The run was cancelled and has had its last checkpoint: write nothing more. */
export class FrozenError extends BrakewireError {}
/* A later life of this run exists: this one must not write, and stop. */
export class FencedError extends BrakewireError {}
/* Another incarnation carries this run: `epoch` adopts it (docs/PROTOCOL.md section 5.1). */
export class ConflictError extends BrakewireError {
  get epoch() {
    return this.problem?.epoch
  }
  get owner() {
    return this.problem?.owner
  }
}
/* It cannot be recorded now (no agentd, or no Redis behind it); nothing happened. */
export class UnavailableError extends BrakewireError {}

const kinds = {
  frozen: FrozenError,
  fenced: FencedError,
  conflict: ConflictError,
  unavailable: UnavailableError,
  unknown_outcome: UnavailableError,
}

/* From an answer of the agentd that is not 2xx. */
export function errorOfAnswer(answer, doing) {
  const problem = answer.json ?? {}
  const more = {
    code: problem.code ?? 'unexpected',
    status: answer.status,
    detail: problem.detail,
    retryAfterMs: answer.retryAfterMs,
    problem,
  }
  if (problem.code === 'cancelled') return new CancelledError({ ...problem.cancel, run: problem.run_id }, more)
  const Kind = kinds[problem.code] ?? BrakewireError
  const detail = problem.detail ?? problem.title ?? `HTTP ${answer.status}`
  return new Kind(`${doing}: ${detail} (${more.code})`, more)
}
