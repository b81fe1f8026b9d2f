/* An event for whoever listens. What a listener throws is its own: it is uncaught as it would be in any
 * callback, but keeps nobody else from being told. */
export function tell(emitter, name, ...values) {
  try {
    emitter.emit(name, ...values)
  } catch (fault) {
    queueMicrotask(() => {
      throw fault
    })
  }
}
