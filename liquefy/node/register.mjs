/* For tests of fluxions outside a host: `node --import .../register.mjs --test` finds `liquefy`; see `liquefy/nodejs.py`. */
import { provide } from "./loading.mjs";

provide();
