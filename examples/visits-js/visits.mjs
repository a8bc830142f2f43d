/* The poster's example as fluxions: input >> store >> localProcess >> callExternalDB >> send >> output. */
import { setTimeout as sleep } from "node:timers/promises";

import { answer } from "liquefy";

/** As in graph.yaml. */
const DEADLINE_S = 10;

const EXTERNAL_CALL_MS = 2;

const REGULAR_VISITS = 10;

const CITIES = ["Lyon", "Grenoble", "Seclin", "Blois", "Villeurbanne"];

/** Counts the visits of each user. Its context is that of the key, `params.id`, wherever it runs. */
export function store(message, context) {
  // When the request came: from the message, not from the clock, so that handling it again gives the same.
  const came = new Date(Math.round(1000 * (message.deadline - DEADLINE_S)));
  const last = context.last ?? came;
  context.visits = (context.visits ?? 0) + 1;
  context.last = came;
  return { user: message.body.params.id, visits: context.visits, last };
}

/** Works on what it is given, and remembers nothing. */
export function localProcess({ body }) {
  return { ...body, regular: body.visits >= REGULAR_VISITS };
}

/** Asks somebody else, and waits; others are served meanwhile. The database is a few lines of arithmetic. */
export async function callExternalDB({ body }) {
  await sleep(EXTERNAL_CALL_MS);
  const sum = [...body.user].reduce((total, character) => total + character.codePointAt(0), 0);
  return { ...body, city: CITIES[sum % CITIES.length] };
}

/** Makes the answer. */
export function send({ body: { user, visits, last, regular, city } }) {
  let greeting = `Hello again, ${user} from ${city}`;
  if (visits === 1) greeting = `Welcome to ${city}, ${user}`;
  else if (regular) greeting = `Good to see you, ${user}: visit ${visits} from ${city}, the last on ${last.toUTCString()}`;
  return answer({ user, visits, greeting });
}
