/* The run in which code is called. Where OpenTelemetry runs in the process, its baggage names that run
 * too, so that its instrumentation sends the right one on. */
import { AsyncLocalStorage } from 'node:async_hooks'

const current = new AsyncLocalStorage()

/* Inside withRun() or one of the integrations; else undefined. */
export const currentRun = () => current.getStore()

/* Where @opentelemetry/api 1.x keeps what was registered: no dependency, and nothing where it is not. */
const otel = () => globalThis[Symbol.for('opentelemetry.js.api.1')]
const getter = { keys: (carrier) => Object.keys(carrier), get: (carrier, name) => carrier[name] }

function withBaggage(run, call) {
  const { context, propagation } = otel() ?? {}
  if (context === undefined || propagation === undefined) return call()
  return context.with(propagation.extract(context.active(), { baggage: run.baggage }, getter), call)
}

/* What OpenTelemetry has carried here, as a header's value: where it has instrumented the server, that of the
 * request which is being served. */
export function carriedBaggage() {
  const { context, propagation } = otel() ?? {}
  const carrier = {}
  const setter = { set: (to, name, value) => (to[name] = value) }
  if (context !== undefined && propagation !== undefined) propagation.inject(context.active(), carrier, setter)
  return carrier.baggage
}

/* Our own talk with the agentd is no part of a trace, and says itself where a run belongs. */
const suppressed = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING')

export function unobserved(call) {
  const { context } = otel() ?? {}
  return context === undefined ? call() : context.with(context.active().setValue(suppressed, true), call)
}

export const inRun = (run, call) => current.run(run, () => withBaggage(run, call))
