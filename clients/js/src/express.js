/* Express (4 and 5), and whatever else calls middleware with node's request and response: each request
 * is a run, which ends with its response. */
import { inRun } from './current.js'
import { defaultClient } from './index.js'

/* left: the connection went before the response was finished. done: the handler has ended its
 * response, heard or not. */
function follow(response, left, done) {
  response.once('close', () => {
    if (response.writableFinished) return done()
    left()
    if (response.writableEnded) return done()
    const { end } = response
    response.end = function (...args) {
      const result = end.apply(this, args)
      done()
      return result
    }
  })
}

const stateOf = (run, response) => {
  if (run.signal.aborted) return 'cancelled'
  return response.statusCode >= 500 ? 'error' : 'success'
}

/* Out of reach of the handler, which has gone: what could not be said is no answer to anybody. */
const endQuietly = (run, state) => run.end(state).catch(() => run.end('error').catch(() => {}))

/* options: those of start(), or a function of the request that answers them; and
 *   onDisconnect  cancel (the run is cancelled, with what is below it, when the client goes before it
 *                 has its response) or continue
 *   client        another one than the default
 * The run is `req.brakewire`, and the current run of the handlers behind. In a scope that was cancelled
 * the request fails with a CancelledError (status 409). */
export function brakewire(options = {}) {
  return async (request, response, next) => {
    let hasLeft = false
    let run
    const { client = defaultClient(), onDisconnect = 'cancel', ...asked } =
      typeof options === 'function' ? options(request) : options
    const left = () => {
      hasLeft = true
      if (onDisconnect === 'cancel') run?.cancel({ reason: 'the client disconnected' }).catch(() => {})
    }
    follow(response, left, () => run && endQuietly(run, stateOf(run, response)))
    try {
      run = await client.start({ headers: request.headers, ...asked })
    } catch (error) {
      return next(error)
    }
    request.brakewire = run
    if (hasLeft) left()
    inRun(run, next)
  }
}
