import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Client, Run, StartOptions } from './index.js'

export type MiddlewareOptions = StartOptions & {
  /** When the client goes before it has its response: cancel the run, with what is below it (the default), or go on. */
  onDisconnect?: 'cancel' | 'continue'
  /** Another client than the default one. */
  client?: Client
}

/** Each request is a run: below the one that its baggage names, ended with the response. */
export function brakewire<Request extends IncomingMessage = IncomingMessage>(
  options?: MiddlewareOptions | ((request: Request) => MiddlewareOptions),
): (request: Request, response: ServerResponse, next: (error?: any) => void) => Promise<void>

declare global {
  namespace Express {
    interface Request {
      /** The run that this request is, behind the middleware of brakewire/express. */
      brakewire: Run
    }
  }
}
