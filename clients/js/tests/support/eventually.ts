// Conditions are waited for, with a deadline; nothing sleeps and hopes.

const DEADLINE = 15_000; // milliseconds

/** The first true answer; asks until the deadline. */
export async function eventually<T>(
  question: () => T | Promise<T>,
  what = String(question),
): Promise<T> {
  const until = Date.now() + DEADLINE;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > until) throw new Error(`it has not come: ${what}; the last was ${answer}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
