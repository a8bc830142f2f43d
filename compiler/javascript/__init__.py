"""JavaScript in, a Program out. What each file of this package knows stands at its top.

A start's `route` says where it is registered: `file:line:column` of the method's name in `app.get("/", handler)` or
`router.route("/").post(handler)`, in the file as the Program has it (with its holes). The handlers are the functions
among that call's arguments; the guard belongs before the first of them.

Variables are the bindings of modules, `app.todos` for `todos` of `app.js`, and of functions that ran at start,
`lib.store.makeStore.items`; what a module exports without a name of its own is `lib.store.exports` (named
`module.exports`) or `lib.store.default` (named `default`).
"""

from __future__ import annotations

from compiler.javascript.compiling import compile

__all__ = ["compile"]
