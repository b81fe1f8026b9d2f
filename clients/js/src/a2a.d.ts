import type { Client, Run, StartOptions } from './index.js'

/** https://brakewire.dev/a2a/ext/run-context/v1 */
export const A2A_EXTENSION: string

/** What is used of an AgentExecutor of @a2a-js/sdk, 1.x or 0.3. */
export interface ExecutorLike {
  execute(requestContext: any, eventBus: any, run: Run): Promise<void>
  cancelTask?(taskId: string, eventBus: any): Promise<void>
}

export type ProtectOptions = StartOptions & { client?: Client }

/** The same executor, each of whose executions is a run below the one that the message or its request names, with the task's
 * id as an alias. The run is the third argument of execute(), and the current run. An execution that was told to stop and
 * returns or throws before a terminal state was published is published as canceled when all below it has stopped; a task that is over stays as it is. */
export function protect(
  executor: ExecutorLike,
  options?: ProtectOptions | ((requestContext: any) => ProtectOptions),
): { execute(requestContext: any, eventBus: any): Promise<void>; cancelTask(taskId: string, eventBus: any): Promise<void> }

/** A copy of the message that says which run sends it: `run`, else the current one. */
export function withContext<Message extends object>(message: Message, run?: Run): Message

/** For the `interceptors` of a client's config: messages and requests carry the context of `run`, else of the current run. */
export function interceptor(run?: Run): { before(args: any): Promise<void>; after(args: any): Promise<void> }
