"""How what a service remembers is kept: small programs, one trap each. `h` is the handler that is asked about.

Wrongly none, keyed or whole would be a service that answers differently; pinned is only poor.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.python import compile

FLASK = """
from flask import Flask, jsonify, request
import functools, threading, itertools, collections
app = Flask(__name__)
"""

FLASK_PROGRAMS = {
    ("writtentext", "pinned"): """
import io
b=io.StringIO()
@app.get("/")
def h():
    b.write("x")
    return b.getvalue()
""",
    ("readtext", "none"): """
import io
b=io.StringIO("x")
@app.get("/")
def h():
    return b.getvalue()
""",
    ("foundones", "pinned"): """
import re
found=re.finditer("a", "aaaa")
@app.get("/")
def h():
    return str(next(found).start())
""",
    ("foundloop", "pinned"): """
import re
found=re.finditer("a", "aaaa")
@app.get("/")
def h():
    for one in found:
        return str(one.start())
""",
    ("array", "pinned"): """
import array
a=array.array("i", [0])
@app.get("/")
def h():
    a[0]+=1
    return str(a)
""",
    ("hashobject", "pinned"): """
import hashlib
d=hashlib.md5()
@app.get("/")
def h():
    d.update(b"x")
    return d.hexdigest()
""",
    ("unchanging", "none"): """
import hashlib, logging, operator, re, configparser
word=re.compile("a+")
log=logging.getLogger("x")
second=operator.itemgetter(1)
settings=configparser.ConfigParser()
digest=hashlib.md5(b"x")
@app.get("/")
def h():
    log.info("x")
    return str(word.sub("b", "a")) + second("ab") + digest.hexdigest() + settings.get("a", "b", fallback="c")
""",
    ("throughclass", "whole"): """
seen=[]
@app.get("/")
def h():
    list.append(seen, 1)
    return str(len(seen))
""",
    ("partialofclass", "whole"): """
seen=[]
note=functools.partial(list.append, seen)
@app.get("/")
def h():
    note(1)
    return str(len(seen))
""",
    ("ownlist", "whole"): """
class Seen(list):
    def append(self, x):
        super().append(x)
seen=Seen()
@app.get("/")
def h():
    seen.append(1)
    return str(len(seen))
""",
    ("afterthis", "whole"): """
from flask import after_this_request
n=0
@app.get("/")
def h():
    @after_this_request
    def count(r):
        global n
        n+=1
        return r
    return str(n)
""",
    ("missing", "whole"): """
class Counting:
    def __init__(self):
        self.__dict__["n"]=0
    def __getattr__(self, name):
        self.__dict__["n"]+=1
        return self.n
c=Counting()
@app.get("/")
def h():
    return str(c.other)
""",
    ("truth", "whole"): """
n=[0]
class Counting:
    def __bool__(self):
        n[0]+=1
        return True
c=Counting()
@app.get("/")
def h():
    return str(n) if c else ""
""",
    ("hashing", "whole"): """
n=[0]
class Counting:
    def __hash__(self):
        n[0]+=1
        return 1
c=Counting()
@app.get("/")
def h():
    {c: 1}
    return str(n)
""",
    ("contextdefault", "pinned"): """
import contextvars
v=contextvars.ContextVar("v", default=[])
@app.get("/")
def h():
    v.get().append(1)
    return str(v.get())
""",
    ("shownmemory", "whole"): """
b=bytearray(4)
@app.get("/")
def h():
    memoryview(b)[0]+=1
    return str(b)
""",
    ("ownmodule", "whole"): """
import sys
n=0
@app.get("/")
def h():
    sys.modules[__name__].n+=1
    return str(n)
""",
    ("remembersrandom", "pinned"): """
import random
@functools.lru_cache
def f(x):
    return random.random()
@app.get("/")
def h():
    return str(f(1))
""",
    ("rememberssame", "none"): """
@functools.lru_cache
def f(x):
    return x*2
@app.get("/<x>")
def h(x):
    return f(x)
""",
    ("oneview", "pinned"): """
from flask.views import MethodView
class h(MethodView):
    init_every_request=False
    def __init__(self):
        self.items=[]
    def get(self):
        self.items.append(1)
        return jsonify(self.items)
app.add_url_rule("/", view_func=h.as_view("h"))
""",
    ("viewgiven", "pinned"): """
from flask.views import MethodView
class h(MethodView):
    def __init__(self, items):
        self.items=items
    def get(self):
        self.items.append(1)
        return jsonify(self.items)
app.add_url_rule("/", view_func=h.as_view("h", []))
""",
    ("shuffled", "whole"): """
import random
words=["a","b","c"]
random.shuffle(words)
@app.get("/<int:i>")
def h(i):
    return words[i]
""",
    ("twoclosures", "pinned"): """
def make():
    seen=[]
    def add(x):
        seen.append(x)
        return str(len(seen))
    return add
a,b=make(),make()
@app.get("/<x>")
def h(x):
    return a(x)+b(x)
""",
    ("twowrappers", "none"): """
def twice(f):
    @functools.wraps(f)
    def w(*a, **k):
        return f(*a, **k)*2
    return w
@app.get("/<x>")
@twice
def h(x):
    return x
@app.get("/")
@twice
def other():
    return "x"
""",
    ("walkwrite", "whole"): """
users={}
@app.get("/")
def h():
    for u in users.values():
        u["x"]=1
    return ""
""",
    ("nested", "keyed"): """
users={}
@app.get("/<id>")
def h(id):
    users[id]["friends"].append(1)
    return ""
""",
    ("tuple", "whole"): """
todos=[]
@app.get("/")
def h():
    a,b=todos,1
    a.append(b)
    return ""
""",
    ("getattr", "whole"): """
class S: pass
store=S()
store.items=[]
@app.get("/")
def h():
    getattr(store,"items").append(1)
    return ""
""",
    ("nonlocal", "whole"): """
def mk():
    n=0
    def inc():
        nonlocal n
        n+=1
        return n
    return inc
inc=mk()
@app.get("/")
def h():
    return str(inc())
""",
    ("classcount", "whole"): """
class T:
    count=0
    def __init__(self):
        T.count+=1
@app.get("/")
def h():
    T()
    return str(T.count)
""",
    ("typeself", "whole"): """
class T:
    items=[]
    def add(self):
        type(self).items.append(1)
@app.get("/")
def h():
    T().add()
    return ""
""",
    ("selfclass", "whole"): """
class T:
    items=[]
    def add(self):
        self.__class__.items.append(1)
@app.get("/")
def h():
    T().add()
    return ""
""",
    ("memo", "whole"): """
def memo(f):
    cache={}
    @functools.wraps(f)
    def w(*a):
        if a not in cache:
            cache[a]=f(*a)
        return cache[a]
    return w
@memo
def slow(x): return x*2
@app.get("/<x>")
def h(x):
    return slow(x)
""",
    ("lru", "pinned"): """
items=[]
@functools.lru_cache
def size(): return len(items)
@app.get("/")
def h():
    return str(size())
@app.post("/")
def p():
    items.append(1); return ""
""",
    ("generator", "pinned"): """
def ids():
    n=0
    while True:
        n+=1
        yield n
g=ids()
@app.get("/")
def h():
    return str(next(g))
""",
    ("copyinner", "whole"): """
users={"a":{}}
@app.get("/<id>")
def h(id):
    d=users.copy()
    d[id]["x"]=1
    return ""
""",
    ("maplambda", "whole"): """
users={}
@app.get("/")
def h():
    list(map(lambda u: u.update(x=1), users.values()))
    return ""
""",
    ("starmod", "whole"): """
from store import *
@app.get("/")
def h():
    items.append(1)
    return ""
""",
    ("lazyimport", "whole"): """
@app.get("/")
def h():
    from store import items
    items.append(1)
    return ""
""",
    ("jinja", "whole"): """
todos=[]
app.jinja_env.globals["todos"]=todos
@app.get("/")
def h():
    todos.append(1)
    return ""
@app.get("/b")
def b():
    return "x"
""",
    ("environ", "pinned"): """
import os
@app.get("/<x>")
def h(x):
    os.environ["X"]=x
    return ""
""",
    ("config", "whole"): """
app.config["N"]=0
@app.get("/")
def h():
    app.config["N"]+=1
    return str(app.config["N"])
""",
    ("lock", "whole"): """
lock=threading.Lock()
n=0
@app.get("/")
def h():
    global n
    with lock:
        n+=1
    return str(n)
""",
    ("dd", "keyed"): """
d=collections.defaultdict(list)
@app.get("/<x>")
def h(x):
    d[x].append(1)
    return jsonify(d[x])
""",
    ("deque", "whole"): """
d=collections.deque(maxlen=3)
@app.get("/<x>")
def h(x):
    d.append(x)
    return jsonify(list(d))
""",
    ("singleton", "whole"): """
class S:
    _i=None
    def __new__(cls):
        if cls._i is None:
            cls._i=object.__new__(cls)
            cls._i.items=[]
        return cls._i
@app.get("/")
def h():
    S().items.append(1)
    return ""
""",
    ("setitemcls", "whole"): """
class S:
    def __init__(self): self.d={}
    def __setitem__(self,k,v): self.d[k]=v
    def __getitem__(self,k): return self.d[k]
s=S()
@app.get("/<k>")
def h(k):
    s[k]=1
    return ""
""",
    ("iadd", "whole"): """
class N:
    def __init__(self): self.v=0
    def __iadd__(self,o):
        self.v+=o
        return self
n=N()
@app.get("/")
def h():
    global n
    n+=1
    return ""
""",
    ("contains", "whole"): """
class N:
    def __init__(self): self.v=0
    def __contains__(self,o):
        self.v+=1
        return True
n=N()
@app.get("/")
def h():
    return str(1 in n)
""",
    ("thread", "pinned"): """
out=[]
@app.get("/")
def h():
    threading.Thread(target=lambda: out.append(1)).start()
    return ""
""",
    ("funcattr", "whole"): """
def f():
    f.n+=1
    return f.n
f.n=0
@app.get("/")
def h():
    return str(f())
""",
    ("dispatch", "whole"): """
items=[]
def add(): items.append(1)
ACTIONS={"add": add}
@app.get("/<a>")
def h(a):
    ACTIONS[a]()
    return ""
""",
    ("strategy", "keyed"): """
class A:
    def __init__(self): self.n=0
    def go(self): self.n+=1
ALL={"a":A()}
@app.get("/<a>")
def h(a):
    ALL[a].go()
    return str(ALL[a].n)
""",
    ("aliaskeys", "whole"): """
a={}
b={}
@app.get("/<k>")
def h(k):
    x={}
    a[k]=x
    b[k]=x
    return ""
@app.get("/<k>/w")
def w(k):
    a[k]["n"]=1
    return ""
""",
    ("loopkey", "whole"): """
d={}
@app.get("/<k>")
def h(k):
    while k:
        d[k]=1
        k=k[1:]
    return ""
""",
    ("lowerkey", "whole"): """
d={}
@app.get("/<k>")
def h(k):
    k=k.lower()
    d[k]=1
    return ""
""",
    ("linked", "whole"): """
d={}
@app.get("/<k>/<j>")
def h(k,j):
    d[k]=d[j]
    return ""
""",
    ("friend", "keyed"): """
d={"a":{"f":None}}
@app.get("/<k>")
def h(k):
    d[k]["f"]=d[k]
    return ""
""",
    ("moduleattr", "whole"): """
import store
@app.get("/")
def h():
    store.total = getattr(store, "total", 0) + 1
    return str(store.total)
""",
    ("readonly", "none"): """
d={"a":1}
@app.get("/<k>")
def h(k):
    return str(d.get(k)) + str(len(d)) + str(sorted(d))
""",
    ("loadwrite", "none"): """
d={}
def fill():
    for i in range(3): d[i]=i
fill()
@app.get("/<k>")
def h(k):
    return jsonify(d)
""",
    ("iter", "pinned"): """
it=iter([1,2,3])
@app.get("/")
def h():
    return str(next(it))
""",
    ("cyc", "whole"): """
it=itertools.cycle([1,2,3])
@app.get("/")
def h():
    return str(next(it))
""",
    ("exc", "whole"): """
errors=[]
@app.errorhandler(404)
def nf(e):
    errors.append(1)
    return "",404
@app.get("/")
def h(): return "x"
""",
    ("initapp", "whole"): """
class Ext:
    def __init__(self, app):
        self.n=0
        app.before_request(self.count)
    def count(self): self.n+=1
ext=Ext(app)
@app.get("/")
def h(): return str(ext.n)
""",
    ("wsgimw", "whole|pinned"): """
class Mw:
    def __init__(self, inner):
        self.inner=inner
        self.n=0
    def __call__(self, env, start):
        self.n+=1
        return self.inner(env,start)
app.wsgi_app=Mw(app.wsgi_app)
@app.get("/")
def h(): return "x"
""",
    ("randomsecretvar", "none"): """
import os
SECRET=os.urandom(8)
app.config["SECRET_KEY"]=SECRET
@app.get("/")
def h(): return "x"
""",
    ("configupdate", "pinned"): """
import os
app.config.update(SECRET_KEY=os.urandom(8))
@app.get("/")
def h(): return "x"
""",
    ("frommapping", "pinned"): """
import secrets
app.config.from_mapping(SECRET_KEY=secrets.token_hex())
@app.get("/")
def h(): return "x"
""",
    ("starttime", "whole"): """
import time
t0=time.time()
@app.get("/")
def h(): return str(time.time()-t0)
""",
    ("slice", "whole"): """
l=[3,1,2]
@app.get("/")
def h():
    l[0:1]=[5]
    return ""
""",
    ("delkey", "keyed"): """
d={}
@app.get("/<k>")
def h(k):
    if k in d: del d[k]
    d.pop(k,None)
    return ""
""",
    ("orlist", "keyed"): """
d={}
@app.get("/<k>")
def h(k):
    x = d.get(k) or []
    x.append(1)
    d[k]=x
    return jsonify(x)
""",
    ("dunderget", "whole"): """
class Reg(dict):
    def add(self,k): self[k]=1
r=Reg()
@app.get("/<k>")
def h(k):
    r.add(k)
    return ""
""",
    ("listsub", "whole"): """
class L(list): pass
r=L()
@app.get("/<k>")
def h(k):
    r.append(k)
    return ""
""",
    ("setdefaultglobal", "pinned"): """
@app.get("/<k>")
def h(k):
    g = globals()
    return ""
""",
    ("newglobal", "whole"): """
@app.get("/")
def h():
    global fresh
    try:
        fresh.append(1)
    except NameError:
        fresh=[]
    return ""
""",
    ("enumcls", "none"): """
import enum
class S(enum.Enum):
    A=1
@app.get("/<k>")
def h(k):
    return str(S.A.value) + str([x for x in S])
""",
    ("compwrite", "whole"): """
seen=set()
@app.get("/<k>")
def h(k):
    [seen.add(x) for x in k]
    return ""
""",
    ("lambdadef", "whole"): """
log=[]
push=log.append
@app.get("/<k>")
def h(k):
    push(k)
    return ""
""",
    ("partialdef", "whole"): """
log=[]
def put(to,x): to.append(x)
push=functools.partial(put,log)
@app.get("/<k>")
def h(k):
    push(k)
    return ""
""",
    ("dataclass", "whole"): """
from dataclasses import dataclass, field
@dataclass
class St:
    n: int = 0
    items: list = field(default_factory=list)
st=St()
@app.get("/<k>")
def h(k):
    st.items.append(k)
    st.n+=1
    return ""
""",
    ("dcread", "none"): """
from dataclasses import dataclass, field
@dataclass
class St:
    n: int = 0
st=St()
@app.get("/<k>")
def h(k):
    return str(st.n)
""",
    ("ctxmgr", "whole"): """
from contextlib import contextmanager
n=[]
@contextmanager
def tx():
    n.append(1)
    yield n
@app.get("/")
def h():
    with tx() as x:
        return str(len(x))
""",
    ("logging", "none"): """
import logging
log=logging.getLogger(__name__)
@app.get("/")
def h():
    log.info("x")
    app.logger.info("y")
    return ""
""",
    ("future", "pinned"): """
import asyncio
waiting={}
@app.get("/<k>")
async def h(k):
    f=asyncio.get_event_loop().create_future()
    waiting[k]=f
    return await f
""",
    ("heldresp", "pinned"): """
waiting=[]
@app.get("/<k>")
def h(k):
    waiting.append(request)
    return ""
""",
    ("storelambda", "pinned"): """
jobs=[]
@app.get("/<k>")
def h(k):
    jobs.append(lambda: k)
    return ""
""",
    ("method_on_unknown", "whole"): """
d={}
@app.get("/<k>")
def h(k):
    d[k].frobnicate()
    return ""
""",
}

FASTAPI = """
from fastapi import FastAPI, Depends, Request, Body, Query, Header, APIRouter, BackgroundTasks, WebSocket
from typing import Annotated, Optional
from pydantic import BaseModel
import asyncio
app = FastAPI()
"""

FASTAPI_PROGRAMS = {
    ("annotated", "whole"): """
log=[]
def dep():
    log.append(1)
    return 1
D = Annotated[int, Depends(dep)]
@app.get("/")
async def h(d: D):
    return d
""",
    ("annotated2", "whole"): """
log=[]
def dep():
    log.append(1)
    return 1
@app.get("/")
async def h(d: Annotated[int, Depends(dep)]):
    return d
""",
    ("nesteddep", "whole"): """
log=[]
def a():
    log.append(1)
def b(x=Depends(a)): return x
@app.get("/")
async def h(d=Depends(b)):
    return d
""",
    ("depclass", "whole"): """
log=[]
class Q:
    def __init__(self, q: str = ""):
        log.append(q)
@app.get("/")
async def h(d: Q = Depends()):
    return d
""",
    ("routerdep", "whole"): """
log=[]
def a():
    log.append(1)
r=APIRouter(dependencies=[Depends(a)])
@r.get("/")
async def h():
    return 1
app.include_router(r)
""",
    ("state", "whole"): """
app.state.n=0
@app.get("/")
async def h(request: Request):
    request.app.state.n+=1
    return request.app.state.n
""",
    ("reqstate", "whole"): """
users={"a":{}}
@app.middleware("http")
async def mw(request: Request, call_next):
    request.state.user=users["a"]
    return await call_next(request)
@app.get("/")
async def h(request: Request):
    request.state.user["n"]=1
    return request.state.user
""",
    ("lifespan", "none|whole"): """
from contextlib import asynccontextmanager
models={}
@asynccontextmanager
async def life(app):
    models["m"]=1
    yield
    models.clear()
app=FastAPI(lifespan=life)
@app.get("/")
async def h(): return models["m"]
""",
    ("lifetask", "pinned"): """
from contextlib import asynccontextmanager
n=[0]
async def tick():
    while True:
        n[0]+=1
        await asyncio.sleep(1)
@asynccontextmanager
async def life(app):
    t=asyncio.create_task(tick())
    yield
app=FastAPI(lifespan=life)
@app.get("/")
async def h(): return n[0]
""",
    ("startup", "none"): """
data={}
@app.on_event("startup")
async def st():
    data["x"]=1
@app.get("/")
async def h(): return data
""",
    ("querykey", "keyed"): """
d={}
@app.get("/")
async def h(user: str):
    d[user]=d.get(user,0)+1
    return d[user]
""",
    ("querykeydefault", "whole"): """
d={}
@app.get("/")
async def h(user: str = "x"):
    d[user]=d.get(user,0)+1
    return d[user]
""",
    ("optionalkey", "whole"): """
d={}
@app.get("/")
async def h(user: Optional[str] = None):
    d[user]=d.get(user,0)+1
    return d[user]
""",
    ("headerkey", "keyed|whole"): """
d={}
@app.get("/")
async def h(x_user: str = Header()):
    d[x_user]=d.get(x_user,0)+1
    return d[x_user]
""",
    ("bodykey", "keyed"): """
d={}
class I(BaseModel):
    name: str
    n: int
@app.post("/")
async def h(i: I):
    d[i.name]=i.n
    return d[i.name]
""",
    ("bodykeyint", "whole"): """
d={}
class I(BaseModel):
    name: str
    n: int
@app.post("/")
async def h(i: I):
    d[i.n]=i.name
    return d[i.n]
""",
    ("pathfloat", "whole"): """
d={}
@app.get("/{x}")
async def h(x: float):
    d[x]=1
    return d[x]
""",
    ("enumparam", "whole"): """
import enum
class K(str, enum.Enum):
    a="a"
d={}
@app.get("/{x}")
async def h(x: K):
    d[x]=1
    return d[x]
""",
    ("ws", "pinned"): """
@app.websocket("/ws")
async def h(ws: WebSocket):
    await ws.accept()
""",
    ("sse", "pinned"): """
from fastapi.responses import StreamingResponse
subs=[]
@app.get("/")
async def h():
    q=asyncio.Queue()
    subs.append(q)
    async def gen():
        while True:
            yield await q.get()
    return StreamingResponse(gen())
""",
    ("task", "pinned"): """
@app.get("/")
async def h():
    asyncio.create_task(asyncio.sleep(1))
    return 1
""",
    ("looptask", "pinned"): """
@app.get("/")
async def h():
    asyncio.get_event_loop().create_task(asyncio.sleep(1))
    return 1
""",
    ("mwclass", "pinned|whole"): """
from starlette.middleware.base import BaseHTTPMiddleware
class M(BaseHTTPMiddleware):
    def __init__(self, app):
        super().__init__(app)
        self.n=0
    async def dispatch(self, request, call_next):
        self.n+=1
        return await call_next(request)
app.add_middleware(M)
@app.get("/")
async def h(): return 1
""",
    ("mwpure", "none"): """
from starlette.middleware.base import BaseHTTPMiddleware
class M(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        r = await call_next(request)
        r.headers["x"]="1"
        return r
app.add_middleware(M)
@app.get("/")
async def h(): return 1
""",
    ("yielddep", "whole"): """
pool=[]
def get():
    pool.append(1)
    try:
        yield pool
    finally:
        pool.pop()
@app.get("/")
async def h(p=Depends(get)): return len(p)
""",
    ("retsubset", "keyed"): """
db={"a":{"n":1}}
def find(k): return db.get(k)
@app.post("/{k}")
async def h(k: str):
    x=find(k)
    if x: x["n"]+=1
    return x
""",
    ("modelstate", "whole"): """
class I(BaseModel):
    name: str
items: dict[str, I] = {}
@app.put("/{k}")
async def h(k: str, i: I):
    items[k]=i
    items[k].name="x"
    return items[k]
@app.get("/")
async def l(): return items
""",
    ("modelkeyed", "keyed"): """
class I(BaseModel):
    name: str
items: dict[str, I] = {}
@app.put("/{k}")
async def h(k: str, i: I):
    items[k]=i
    return items[k]
""",
    ("repo", "whole"): """
class Repo:
    def __init__(self): self.d={}
    def put(self,k,v): self.d[k]=v
repo=Repo()
def get_repo(): return repo
@app.put("/{k}")
async def h(k: str, r: Repo = Depends(get_repo)):
    r.put(k,1)
    return 1
""",
    ("newrepo", "keyed|whole"): """
class Repo:
    d={}
    def put(self,k,v): self.d[k]=v
@app.put("/{k}")
async def h(k: str, r: Repo = Depends(Repo)):
    r.put(k,1)
    return 1
""",
    ("lrusettings", "none"): """
import functools
class S(BaseModel):
    name: str = "x"
@functools.lru_cache
def settings(): return S()
@app.get("/{k}")
async def h(k: str, s: S = Depends(settings)):
    return s.name
""",
    ("lrumutated", "pinned"): """
import functools
class S(BaseModel):
    name: str = "x"
@functools.lru_cache
def settings(): return S()
@app.get("/{k}")
async def h(k: str, s: S = Depends(settings)):
    s.name=k
    return s.name
""",
    ("exhandler", "whole"): """
n=[]
class E(Exception): pass
@app.exception_handler(E)
async def eh(request, exc):
    n.append(1)
@app.get("/")
async def h(): raise E()
""",
    ("uuidkey", "whole"): """
import uuid
d={}
@app.post("/")
async def h():
    k=str(uuid.uuid4())
    d[k]=1
    return k
@app.get("/{k}")
async def g(k: str): return d[k]
""",
    ("sqlmodel", "pinned"): """
from sqlmodel import create_engine, Session, SQLModel
engine=create_engine("sqlite:///x.db")
@app.get("/")
def h():
    with Session(engine) as s:
        return s.exec("x").all()
""",
    ("pg", "none"): """
import os
from sqlmodel import create_engine, Session, SQLModel
engine=create_engine(os.environ["DB"])
@app.get("/")
def h():
    with Session(engine) as s:
        return s.exec("x").all()
""",
    ("cursorload", "pinned"): """
import sqlite3
conn=sqlite3.connect("x.db")
cur=conn.cursor()
@app.get("/")
def h():
    cur.execute("select 1")
    return cur.fetchall()
""",
    ("unknownresult", "pinned"): """
import wonder
@app.get("/")
def h():
    return wonder.compute(1)
""",
    ("mounted", "whole"): """
sub=FastAPI()
hits=[]
@sub.get("/{k}")
def h(k: str):
    hits.append(k)
    return 1
app.mount("/sub", sub)
""",
}

OTHER_PROGRAMS = {
    ("longpoll", "pinned"): """
from fastapi import FastAPI, Depends, Request, Body, Query, Header, APIRouter, BackgroundTasks, WebSocket
from typing import Annotated, Optional
from pydantic import BaseModel
import asyncio
app = FastAPI()
messages=[]
@app.get("/")
async def h():
    while not messages:
        await asyncio.sleep(0.1)
    return messages.pop()
@app.post("/{m}")
async def p(m: str): messages.append(m)
""",
    ("polldict", "pinned"): """
from fastapi import FastAPI, Depends, Request, Body, Query, Header, APIRouter, BackgroundTasks, WebSocket
from typing import Annotated, Optional
from pydantic import BaseModel
import asyncio
app = FastAPI()
import time
jobs={}
@app.get("/{k}")
def h(k: str):
    while k not in jobs:
        time.sleep(0.1)
    return jobs[k]
@app.post("/{k}")
def p(k: str): jobs[k]=1
""",
    ("pollconst", "none"): """
from fastapi import FastAPI, Depends, Request, Body, Query, Header, APIRouter, BackgroundTasks, WebSocket
from typing import Annotated, Optional
from pydantic import BaseModel
import asyncio
app = FastAPI()
LIMIT={"n":3}
@app.get("/")
async def h():
    n=0
    while n < LIMIT["n"]:
        await asyncio.sleep(0.01)
        n+=1
    return n
""",
    ("aio_state", "whole"): """
from aiohttp import web
import asyncio
from collections import defaultdict
async def h(request):
    request.app["n"]+=1
    return web.Response(text=str(request.app["n"]))
app=web.Application()
app["n"]=0
app.router.add_get("/", h)
web.run_app(app)
""",
    ("aio_mw", "whole"): """
from aiohttp import web
import asyncio
from collections import defaultdict
seen=[]
@web.middleware
async def mw(request, handler):
    seen.append(request.path)
    return await handler(request)
async def h(request):
    return web.Response()
app=web.Application(middlewares=[mw])
app.router.add_get("/", h)
web.run_app(app)
""",
    ("aio_class", "whole"): """
from aiohttp import web
import asyncio
from collections import defaultdict
class H:
    def __init__(self): self.items=[]
    async def get(self, request):
        self.items.append(1)
        return web.json_response(self.items)
x=H()
app=web.Application()
app.add_routes([web.get("/", x.get)])
web.run_app(app)
""",
    ("aio_factory_class", "whole|pinned"): """
from aiohttp import web
import asyncio
from collections import defaultdict
class H:
    def __init__(self): self.items=[]
    async def h(self, request):
        self.items.append(1)
        return web.json_response(self.items)
def make():
    x=H()
    app=web.Application()
    app.add_routes([web.get("/", x.h)])
    return app
if __name__=="__main__":
    web.run_app(make())
""",
    ("aio_view", "whole"): """
from aiohttp import web
import asyncio
from collections import defaultdict
items=[]
class V(web.View):
    async def get(self):
        items.append(1)
        return web.Response()
app=web.Application()
app.router.add_view("/", V)
web.run_app(app)
""",
    ("aio_sub", "whole"): """
from aiohttp import web
import asyncio
from collections import defaultdict
items=[]
async def h(request):
    items.append(request.match_info["x"])
    return web.Response()
sub=web.Application()
sub.router.add_post("/{x}", h)
app=web.Application()
app.add_subapp("/api", sub)
web.run_app(app)
""",
    ("aio_startup_task", "pinned"): """
from aiohttp import web
import asyncio
from collections import defaultdict
data={}
async def bg(app):
    while True:
        data["t"]=1
        await asyncio.sleep(1)
async def start(app):
    app["t"]=asyncio.create_task(bg(app))
async def h(request): return web.json_response(data)
app=web.Application()
app.on_startup.append(start)
app.router.add_get("/", h)
web.run_app(app)
""",
    ("microdot", "whole"): """
from aiohttp import web
import asyncio
from collections import defaultdict
from microdot import Microdot
app=Microdot()
n=0
@app.route("/")
async def h(request):
    global n
    n+=1
    return str(n)
app.run()
""",
    ("bottle", "whole"): """
from aiohttp import web
import asyncio
from collections import defaultdict
from bottle import route, run, request
d={}
@route("/<k>")
def h(k):
    d[k]=1
    return d
run()
""",
    ("rawserver", "pinned"): """
from aiohttp import web
import asyncio
from collections import defaultdict
from http.server import HTTPServer, BaseHTTPRequestHandler
n=0
class H(BaseHTTPRequestHandler):
    def do_GET(self):
        global n
        n+=1
HTTPServer(("",80),H).serve_forever()
""",
    ("sanic", "whole"): """
from aiohttp import web
import asyncio
from collections import defaultdict
from sanic import Sanic, response
app=Sanic("x")
d=[]
@app.get("/")
async def h(request):
    d.append(1)
    return response.json(d)
app.run()
""",
    ("django", "pinned"): """
from aiohttp import web
import asyncio
from collections import defaultdict
import django
def h(request): return 1
urlpatterns=[h]
""",
}

STORE = "items = []\ntotal = 0\n"
PROGRAMS = [
    *((name, keeping, FLASK + text) for (name, keeping), text in FLASK_PROGRAMS.items()),
    *((name, keeping, FASTAPI + text) for (name, keeping), text in FASTAPI_PROGRAMS.items()),
    *((name, keeping, text) for (name, keeping), text in OTHER_PROGRAMS.items()),
]


@pytest.mark.parametrize(("name", "keeping", "text"), PROGRAMS, ids=[name for name, _, _ in PROGRAMS])
def test_keeping(name: str, keeping: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(text)
    (tmp_path / "store.py").write_text(STORE)
    program = compile(tmp_path, "app.py")
    handler = next((f for f in program.fluxions if f.name == "h"), program.fluxions[0])
    found = {group.name: group.keeping.value for group in program.groups}[handler.group]
    assert found in keeping.split("|")
