/** What `act` returns, or `otherwise` if it throws, as what a browser remembers does where that is not allowed. */
export function attempt(act, otherwise) {
  try {
    return act();
  } catch {
    return otherwise;
  }
}
