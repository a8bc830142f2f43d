"""Regular code in, fluxions out. The parts: facts (what a front end reads from source), classify (which state is
whose), program (the split service), flx (the same as text), emit (the same as a bundle). Runs no user code."""
