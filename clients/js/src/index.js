/* Joins this process to Brakewire: start() a run, obey its signal, pass its context on, end it. */
import { findAgentd } from './agentd.js'
import { Client } from './client.js'
import { currentRun } from './current.js'

export { currentRun }
export { Run } from './run.js'
export { Client }
export {
  BrakewireError,
  CancelledError,
  ConflictError,
  FencedError,
  FrozenError,
  UnavailableError,
} from './errors.js'

/* A client of its own: another agentd, a token kept from an earlier process, or `strict`. */
export const connect = (options) => new Client(options)

/* One for each agentd that the environment has named. */
const clients = new Map()

export function defaultClient() {
  const where = process.env.BRAKEWIRE_AGENTD ?? ''
  let client = clients.get(where)
  if (client === undefined) clients.set(where, (client = connect(where === '' ? {} : { agentd: findAgentd() })))
  return client
}

export const start = (options) => defaultClient().start(options)
export const withRun = (options, work) => defaultClient().withRun(options, work)
