"""What is known of libraries: which keep nothing, which keep something, and where.

Tables by dotted name; the longest that fits counts. A library that is not here is not known, and nothing is assumed of
it. Knows no syntax tree.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from enum import StrEnum


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Kind(StrEnum):
    PURE = "pure"
    """Keeps nothing that matters between requests: functions of their arguments, handles of things elsewhere."""
    ONCE = "once"
    """Gives something else at each call."""
    OPAQUE = "opaque"
    """Keeps state of its own."""
    LOCAL = "local"
    """Keeps something on the machine."""
    TIMER = "timer"
    """Works on after the answer."""
    HELD = "held"
    """Is one request's, and must not be kept."""
    DYNAMIC = "dynamic"
    """Runs code that is not seen."""
    DATABASE = "database"
    """A handle of a database: elsewhere, unless its address says that it is embedded."""
    UNKNOWN = "unknown"


_STATEFUL_STDLIB = {
    "shelve": (Kind.LOCAL, "a shelf in a file"),
    "dbm": (Kind.LOCAL, "a database in a file"),
    "sqlite3": (Kind.LOCAL, "an embedded database (sqlite3)"),
    "subprocess": (Kind.LOCAL, "a child process"),
    "multiprocessing": (Kind.TIMER, "another process"),
    "threading": (Kind.TIMER, "a thread"),
    "sched": (Kind.TIMER, "a timer"),
    "signal": (Kind.OPAQUE, "a signal handler"),
    "socketserver": (Kind.OPAQUE, "a server"),
    "queue": (Kind.OPAQUE, "a queue"),
    "concurrent": (Kind.TIMER, "a pool of workers"),
    "tempfile": (Kind.LOCAL, "a temporary file"),
    "shutil": (Kind.LOCAL, "files"),
    "weakref": (Kind.OPAQUE, "a weak reference"),
    "ctypes": (Kind.OPAQUE, "native code"),
    "gc": (Kind.DYNAMIC, "the garbage collector"),
    "code": (Kind.DYNAMIC, "code made at run time"),
    "importlib": (Kind.DYNAMIC, "an import by a computed name"),
    "runpy": (Kind.DYNAMIC, "code made at run time"),
    "builtins": (Kind.PURE, ""),
    "selectors": (Kind.OPAQUE, "a selector"),
    "socket": (Kind.OPAQUE, "a socket"),
    "ssl": (Kind.OPAQUE, "a socket"),
    "random": (Kind.ONCE, "made at random (random)"),
    "secrets": (Kind.ONCE, "made at random (secrets)"),
    "uuid": (Kind.ONCE, "made at random (uuid)"),
    "time": (Kind.ONCE, "made of the time"),
    "asyncio": (Kind.OPAQUE, "something of asyncio"),
    "cmd": (Kind.DYNAMIC, "a command line"),
    "fileinput": (Kind.LOCAL, "files"),
    "ftplib": (Kind.OPAQUE, "a connection"),
    "imaplib": (Kind.OPAQUE, "a connection"),
    "poplib": (Kind.OPAQUE, "a connection"),
    "telnetlib": (Kind.OPAQUE, "a connection"),
    "mmap": (Kind.LOCAL, "a mapped file"),
    "pty": (Kind.LOCAL, "a terminal"),
    "fcntl": (Kind.LOCAL, "a lock of a file"),
    "zipimport": (Kind.DYNAMIC, "code"),
    "atexit": (Kind.PURE, ""),
}

_TABLE: dict[str, tuple[Kind, str]] = {
    **_STATEFUL_STDLIB,
    "random.Random": (Kind.OPAQUE, "a generator of random numbers"),
    "random.SystemRandom": (Kind.PURE, ""),
    "random.seed": (Kind.PURE, ""),
    "random.shuffle": (Kind.PURE, ""),
    "secrets.compare_digest": (Kind.PURE, ""),
    "uuid.UUID": (Kind.PURE, ""),
    "uuid.uuid3": (Kind.PURE, ""),
    "uuid.uuid5": (Kind.PURE, ""),
    "uuid.NAMESPACE_DNS": (Kind.PURE, ""),
    "uuid.NAMESPACE_URL": (Kind.PURE, ""),
    "time.sleep": (Kind.PURE, ""),
    "time.strftime": (Kind.ONCE, "made of the time"),
    "time.strptime": (Kind.PURE, ""),
    "datetime.datetime.now": (Kind.ONCE, "made of the time"),
    "datetime.datetime.utcnow": (Kind.ONCE, "made of the time"),
    "datetime.datetime.today": (Kind.ONCE, "made of the time"),
    "datetime.date.today": (Kind.ONCE, "made of the time"),
    "os.urandom": (Kind.ONCE, "made at random (os.urandom)"),
    "os.getpid": (Kind.ONCE, "the number of a process"),
    "os.system": (Kind.LOCAL, "a child process"),
    "os.popen": (Kind.LOCAL, "a child process"),
    "os.spawnl": (Kind.LOCAL, "a child process"),
    "os.fork": (Kind.LOCAL, "a child process"),
    "os.remove": (Kind.LOCAL, "a file"),
    "os.unlink": (Kind.LOCAL, "a file"),
    "os.rename": (Kind.LOCAL, "a file"),
    "os.replace": (Kind.LOCAL, "a file"),
    "os.mkdir": (Kind.LOCAL, "a folder"),
    "os.makedirs": (Kind.LOCAL, "a folder"),
    "os.rmdir": (Kind.LOCAL, "a folder"),
    "os.removedirs": (Kind.LOCAL, "a folder"),
    "os.symlink": (Kind.LOCAL, "a file"),
    "os.link": (Kind.LOCAL, "a file"),
    "os.open": (Kind.LOCAL, "a file"),
    "os.write": (Kind.LOCAL, "a file"),
    "os.truncate": (Kind.LOCAL, "a file"),
    "os.chdir": (Kind.LOCAL, "the working folder"),
    "os.chmod": (Kind.LOCAL, "a file"),
    "os.putenv": (Kind.OPAQUE, "the environment"),
    "socket.gethostname": (Kind.PURE, ""),
    "socket.gethostbyname": (Kind.PURE, ""),
    "socket.getfqdn": (Kind.PURE, ""),
    "socket.AF_INET": (Kind.PURE, ""),
    "socket.error": (Kind.PURE, ""),
    "shutil.which": (Kind.PURE, ""),
    "shutil.get_terminal_size": (Kind.PURE, ""),
    "signal.SIGINT": (Kind.PURE, ""),
    "signal.SIGTERM": (Kind.PURE, ""),
    "subprocess.PIPE": (Kind.PURE, ""),
    "threading.Lock": (Kind.PURE, ""),
    "threading.RLock": (Kind.PURE, ""),
    "threading.get_ident": (Kind.PURE, ""),
    "threading.current_thread": (Kind.PURE, ""),
    "threading.local": (Kind.OPAQUE, "a store per thread"),
    "threading.Event": (Kind.OPAQUE, "an event that one request waits for and another sets"),
    "threading.Condition": (Kind.OPAQUE, "a condition that one request waits for and another notifies"),
    "concurrent.futures.TimeoutError": (Kind.PURE, ""),
    "asyncio.sleep": (Kind.PURE, ""),
    "asyncio.gather": (Kind.PURE, ""),
    "asyncio.wait_for": (Kind.PURE, ""),
    "asyncio.wait": (Kind.PURE, ""),
    "asyncio.timeout": (Kind.PURE, ""),
    "asyncio.run": (Kind.PURE, ""),
    "asyncio.Lock": (Kind.PURE, ""),
    "asyncio.Semaphore": (Kind.PURE, ""),
    "asyncio.TimeoutError": (Kind.PURE, ""),
    "asyncio.CancelledError": (Kind.PURE, ""),
    "asyncio.get_event_loop": (Kind.PURE, ""),
    "asyncio.get_running_loop": (Kind.PURE, ""),
    "asyncio.new_event_loop": (Kind.PURE, ""),
    "asyncio.set_event_loop": (Kind.PURE, ""),
    "asyncio.iscoroutinefunction": (Kind.PURE, ""),
    "asyncio.to_thread": (Kind.PURE, ""),
    "asyncio.create_task": (Kind.TIMER, "a task that goes on after the answer"),
    "asyncio.ensure_future": (Kind.TIMER, "a task that goes on after the answer"),
    "asyncio.Queue": (Kind.OPAQUE, "a queue"),
    "asyncio.Event": (Kind.OPAQUE, "an event that one request waits for and another sets"),
    "importlib.metadata": (Kind.PURE, ""),
    "importlib.resources": (Kind.PURE, ""),
    "pathlib.Path.cwd": (Kind.PURE, ""),
    # Frameworks, and what goes with them.
    "flask": (Kind.PURE, ""),
    "flask.copy_current_request_context": (Kind.TIMER, "a request's context that is kept"),
    "werkzeug": (Kind.PURE, ""),
    "werkzeug.security.generate_password_hash": (Kind.ONCE, "made with a random salt"),
    "jinja2": (Kind.PURE, ""),
    "markupsafe": (Kind.PURE, ""),
    "itsdangerous": (Kind.PURE, ""),
    "click": (Kind.PURE, ""),
    "flask_restful": (Kind.PURE, ""),
    "flask_restplus": (Kind.PURE, ""),
    "flask_restx": (Kind.PURE, ""),
    "flask_httpauth": (Kind.PURE, ""),
    "flask_httpauth.HTTPDigestAuth": (Kind.OPAQUE, "an authentication that remembers nonces"),
    "flask_cors": (Kind.PURE, ""),
    "flask_login": (Kind.PURE, ""),
    "flask_wtf": (Kind.PURE, ""),
    "flask_bcrypt": (Kind.PURE, ""),
    "flask_jwt": (Kind.PURE, ""),
    "flask_jwt_extended": (Kind.PURE, ""),
    "flask_apispec": (Kind.PURE, ""),
    "flask_marshmallow": (Kind.PURE, ""),
    "flask_migrate": (Kind.PURE, ""),
    "flask_script": (Kind.PURE, ""),
    "flask_moment": (Kind.PURE, ""),
    "flask_bootstrap": (Kind.PURE, ""),
    "flask_mail": (Kind.PURE, ""),
    "flask_compress": (Kind.PURE, ""),
    "flask_caching": (Kind.OPAQUE, "a cache"),
    "flask_cache": (Kind.OPAQUE, "a cache"),
    "flask_limiter": (Kind.OPAQUE, "a limiter that counts requests"),
    "flask_session": (Kind.OPAQUE, "a store of sessions"),
    "flask_socketio": (Kind.OPAQUE, "a server of websockets"),
    "flask_sock": (Kind.OPAQUE, "a server of websockets"),
    "flask_sse": (Kind.OPAQUE, "a stream of events"),
    "flasgger": (Kind.PURE, ""),
    "flask_restless": (Kind.PURE, ""),
    "quart": (Kind.PURE, ""),
    "quart_schema": (Kind.PURE, ""),
    "quart_cors": (Kind.PURE, ""),
    "fastapi": (Kind.PURE, ""),
    "fastapi.BackgroundTasks": (Kind.TIMER, "a task that goes on after the answer"),
    "starlette": (Kind.PURE, ""),
    "starlette.background": (Kind.TIMER, "a task that goes on after the answer"),
    "starlette.responses.StreamingResponse": (Kind.PURE, ""),
    "uvicorn": (Kind.PURE, ""),
    "gunicorn": (Kind.PURE, ""),
    "hypercorn": (Kind.PURE, ""),
    "waitress": (Kind.PURE, ""),
    "aiohttp": (Kind.PURE, ""),
    "aiohttp.web.WebSocketResponse": (Kind.HELD, "a websocket"),
    "aiohttp_cors": (Kind.PURE, ""),
    "aiohttp_jinja2": (Kind.PURE, ""),
    "aiohttp_security": (Kind.PURE, ""),
    "aiohttp_session": (Kind.PURE, ""),
    "aiohttp_session.SimpleCookieStorage": (Kind.PURE, ""),
    "cryptography": (Kind.PURE, ""),
    "cryptography.fernet.Fernet.generate_key": (Kind.ONCE, "made at random (Fernet.generate_key)"),
    "bottle": (Kind.PURE, ""),
    "microdot": (Kind.PURE, ""),
    "microdot.sse": (Kind.HELD, "a stream that is held open"),
    "microdot.websocket": (Kind.HELD, "a websocket"),
    "sanic": (Kind.PURE, ""),
    "tornado": (Kind.PURE, ""),
    "pydantic": (Kind.PURE, ""),
    "pydantic_settings": (Kind.PURE, ""),
    "typing_extensions": (Kind.PURE, ""),
    "attr": (Kind.PURE, ""),
    "attrs": (Kind.PURE, ""),
    "marshmallow": (Kind.PURE, ""),
    "webargs": (Kind.PURE, ""),
    "cerberus": (Kind.PURE, ""),
    "jsonschema": (Kind.PURE, ""),
    "jwt": (Kind.PURE, ""),
    "jose": (Kind.PURE, ""),
    "passlib": (Kind.PURE, ""),
    "bcrypt": (Kind.PURE, ""),
    "bcrypt.hashpw": (Kind.ONCE, "made with a random salt"),
    "bcrypt.gensalt": (Kind.ONCE, "made at random"),
    "argon2": (Kind.PURE, ""),
    "pwdlib": (Kind.PURE, ""),
    "validators": (Kind.PURE, ""),
    "slugify": (Kind.PURE, ""),
    "unidecode": (Kind.PURE, ""),
    "dateutil": (Kind.PURE, ""),
    "pytz": (Kind.PURE, ""),
    "arrow": (Kind.PURE, ""),
    "simplejson": (Kind.PURE, ""),
    "ujson": (Kind.PURE, ""),
    "orjson": (Kind.PURE, ""),
    "yaml": (Kind.PURE, ""),
    "toml": (Kind.PURE, ""),
    "six": (Kind.PURE, ""),
    "dotenv": (Kind.PURE, ""),
    "environs": (Kind.PURE, ""),
    "decouple": (Kind.PURE, ""),
    "markdown": (Kind.PURE, ""),
    "bleach": (Kind.PURE, ""),
    "micawber": (Kind.PURE, ""),
    "micawber.cache": (Kind.OPAQUE, "a cache"),
    "multipart": (Kind.PURE, ""),
    "brotli": (Kind.PURE, ""),
    "decorator": (Kind.PURE, ""),
    "pbkdf2": (Kind.ONCE, "made with a salt (pbkdf2)"),
    "brotlicffi": (Kind.PURE, ""),
    "certifi": (Kind.PURE, ""),
    "a file": (Kind.LOCAL, "a file that is open"),
    **dict.fromkeys(
        (
            *("mongoengine", "flask_pymongo", "flask_mongoengine", "beanie", "odmantic", "supabase", "firebase_admin"),
            *("google", "azure", "stripe", "twilio", "sendgrid", "openai", "botocore", "numpy", "pandas", "PIL", "bs4"),
            *("lxml", "feedparser", "emoji", "humanize", "tabulate", "qrcode", "markdown2", "whitenoise", "gevent"),
            *("flask_talisman", "flask_paginate", "email_validator", "phonenumbers", "colorlog", "rich", "tqdm"),
            *("python_multipart", "asgiref", "anyio", "sse_starlette", "pickle", "pymemcache", "neo4j", "cassandra"),
            *("kafka", "confluent_kafka", "nats", "minio", "ldap3", "paramiko", "psutil", "wtforms", "mistune"),
            *("tenacity", "backoff", "deprecated", "wrapt", "pyotp", "pendulum", "more_itertools"),
            *("pygments", "babel", "flask_babel", "tzlocal", "isodate", "inflection", "shortuuid", "nanoid", "hashids"),
        ),
        (Kind.PURE, ""),
    ),
    "prometheus_client": (Kind.OPAQUE, "counters of a process"),
    "prometheus_flask_exporter": (Kind.OPAQUE, "counters of a process"),
    "websockets": (Kind.HELD, "a websocket"),
    "fastapi_cache": (Kind.OPAQUE, "a cache"),
    "slowapi": (Kind.OPAQUE, "a limiter that counts requests"),
    "aiocache": (Kind.OPAQUE, "a cache"),
    "cachelib": (Kind.OPAQUE, "a cache"),
    "diskcache": (Kind.LOCAL, "a cache in files"),
    "aiofiles": (Kind.LOCAL, "files"),
    "faker": (Kind.ONCE, "made at random (faker)"),
    "shortuuid.uuid": (Kind.ONCE, "made at random"),
    "numpy.random": (Kind.ONCE, "made at random"),
    "nltk": (Kind.UNKNOWN, ""),
    # Handles of what is elsewhere.
    "requests": (Kind.PURE, ""),
    "httpx": (Kind.PURE, ""),
    "urllib3": (Kind.PURE, ""),
    "redis": (Kind.PURE, ""),
    "aioredis": (Kind.PURE, ""),
    "pymongo": (Kind.PURE, ""),
    "motor": (Kind.PURE, ""),
    "bson": (Kind.PURE, ""),
    "boto3": (Kind.PURE, ""),
    "elasticsearch": (Kind.PURE, ""),
    "psycopg2": (Kind.PURE, ""),
    "psycopg": (Kind.PURE, ""),
    "asyncpg": (Kind.PURE, ""),
    "aiopg": (Kind.PURE, ""),
    "pymysql": (Kind.PURE, ""),
    "MySQLdb": (Kind.PURE, ""),
    "mysql": (Kind.PURE, ""),
    "aiomysql": (Kind.PURE, ""),
    "pika": (Kind.PURE, ""),
    "sqlalchemy": (Kind.DATABASE, "a database"),
    "flask_sqlalchemy": (Kind.DATABASE, "a database"),
    "sqlmodel": (Kind.DATABASE, "a database"),
    "databases": (Kind.DATABASE, "a database"),
    "tortoise": (Kind.DATABASE, "a database"),
    "peewee": (Kind.DATABASE, "a database"),
    "peewee.SqliteDatabase": (Kind.LOCAL, "an embedded database (SQLite)"),
    "playhouse": (Kind.DATABASE, "a database"),
    "playhouse.sqlite_ext": (Kind.LOCAL, "an embedded database (SQLite)"),
    "aiosqlite": (Kind.LOCAL, "an embedded database (aiosqlite)"),
    "tinydb": (Kind.LOCAL, "an embedded database (TinyDB)"),
    "cachetools": (Kind.OPAQUE, "a cache"),
    "celery": (Kind.PURE, ""),
    "socketio": (Kind.OPAQUE, "a server of websockets"),
    "apscheduler": (Kind.TIMER, "a scheduler"),
    "structlog": (Kind.PURE, ""),
    "loguru": (Kind.PURE, ""),
    "sentry_sdk": (Kind.PURE, ""),
    "raven": (Kind.PURE, ""),
    "colorama": (Kind.PURE, ""),
    "pip": (Kind.PURE, ""),
    "setuptools": (Kind.PURE, ""),
    "pkg_resources": (Kind.PURE, ""),
    "opentracing": (Kind.PURE, ""),
}

_DATA = (
    *("json.", "math.", "zlib.", "base64.", "statistics.", "urllib.parse.quote", "urllib.parse.unquote", "textwrap."),
    *("string.", "html.", "unicodedata.", "datetime.", "simplejson.", "ujson.", "binascii.", "re.sub", "re.split"),
    *("re.findall", "time.", "operator.", "os.path.", "struct.", "calendar.", "fastapi.encoders.jsonable_encoder"),
    *("werkzeug.security.", "jwt.", "jose.jwt.", "flask_jwt_extended.", "dateutil.parser.", "yaml.safe_load", "os.get"),
    *("ast.literal_eval", "csv.", "glob.", "os.listdir", "pickle.load", "toml.load", "tomllib.", "yaml.load"),
    *("enum.auto", "dataclasses.asdict", "dataclasses.astuple"),
    *("copy.deepcopy", "hmac.compare_digest", "markdown.markdown", "bleach.clean", "slugify.", "werkzeug.utils.secure"),
)
DATA_METHODS = words(
    "json text read decode encode isoformat read_text hexdigest digest strftime total_seconds group groups groupdict "
    "split timestamp hash verify hashpw dumps loads dump dict model_dump model_dump_json to_dict parse_args load "
    "generate_password_hash check_password_hash create_access_token encrypt decrypt astimezone localize"
)
LISTS_OF_TEXT = words("split rsplit splitlines")
STARTS_WORK = words("create_task ensure_future call_later call_soon call_at run_in_executor add_job submit apply_async")


VALUES = frozenset(
    {
        *("decimal.Decimal", "fractions.Fraction", "datetime.datetime", "datetime.date", "datetime.time"),
        *("datetime.timedelta", "datetime.timezone", "uuid.UUID", "zoneinfo.ZoneInfo"),
    }
)
"""Classes whose instances cannot change."""
NEVER_RETURN = frozenset(
    {
        *("flask.abort", "flask.helpers.abort", "werkzeug.abort", "werkzeug.exceptions.abort", "quart.abort"),
        *("flask_restful.abort", "flask_restx.abort", "flask_restplus.abort", "bottle.abort", "bottle.redirect"),
        *("microdot.abort", "sanic.exceptions.abort", "sys.exit", "os._exit", "os.abort", "flask_smorest.abort"),
    }
)


SIGNED = (
    *("flask.flash", "flask.get_flashed_messages", "flask.render_template", "flask.stream_template", "flask_"),
    *("flask.templating.", "flask.sessions.", "flask.helpers.flash", "quart.flash", "quart.render_template", "quart_"),
)
"""Functions of libraries that read sessions or what else is signed with an application's secret."""
UNSIGNED = (
    *("flask_restful", "flask_restx", "flask_restplus", "flask_cors", "flask_marshmallow", "flask_sqlalchemy"),
    *("flask_migrate", "flask_compress", "flask_moment", "flask_bootstrap", "flask_script", "flask_bcrypt"),
    *("flask_httpauth", "werkzeug", "whitenoise"),
)
"""Libraries that an application is given to, and that sign nothing."""


def gives_data(name: str) -> bool:
    """Whether a library's function gives plain data."""
    return name.startswith(_DATA) and not name.startswith(ITERATES)


_UNCHANGING = (
    *("logging.", "re.compile", "threading.", "asyncio.", "string.", "json.", "datetime.", "decimal.", "zoneinfo."),
    *("struct.", "operator.", "ipaddress.", "enum.", "typing.", "types.", "http.", "urllib.", "pathlib.", "argparse."),
    *("abc.", "functools.", "dataclasses.", "uuid.", "locale.", "platform.", "os.", "sys.", "math.", "importlib."),
    *("inspect.", "collections.namedtuple", "calendar.", "gettext.", "smtplib.", "ssl.", "xmlrpc.", "warnings."),
    *("contextlib.", "statistics.", "traceback.", "textwrap.", "html.", "base64.", "email.", "fractions.", "builtins."),
)
"""Of the standard library: what gives values that no method changes, or that is shared by a whole process anyway."""
ITERATES = ("re.finditer", "csv.reader", "csv.DictReader", "os.walk", "os.scandir", "itertools.", "glob.iglob")
"""Functions that give what is used up by being looked at."""


_IN_MEMORY = frozenset({"numpy", "pandas", "PIL", "bs4", "lxml"})
"""Libraries whose objects are data of this process that can be changed."""
_CHANGE_DATA = words(
    "fill put itemset resize partition setflags setfield byteswap paste putpixel putdata putpalette putalpha thumbnail "
    "alpha_composite seek rename_axis decompose extract replace_with replace_with_children insert_before insert_after "
    "wrap unwrap smooth remove_attributes addnext addprevious replace load"
)
_GIVE_PARTS = words(
    "reshape ravel view transpose swapaxes squeeze diagonal find find_all find_next find_parent select select_one "
    "findall xpath getroot getparent iter iterchildren itertuples __iter__ getchildren load getchannel"
)
WRITE_INTO = words("copyto put place putmask fill_diagonal put_along_axis Draw shuffle SubElement cleanup_namespaces")
"""Functions of such libraries that change what they are given."""
GIVE_SAME = words(
    "asarray asanyarray ascontiguousarray atleast_1d atleast_2d reshape ravel transpose squeeze swapaxes moveaxis "
    "broadcast_to rollaxis diagonal real imag frombuffer"
)
"""Functions of such libraries that may give what they are given, or a part of it."""


def in_memory(name: str) -> bool:
    """Whether it is of a library whose objects are data that can be changed."""
    return name.partition(".")[0] in _IN_MEMORY


def changes(library: str, method: str, told: Collection[str] = ()) -> bool:
    """Whether that method of an object of the library may change it; `told`: names of its arguments."""
    if in_memory(library):
        return method in _CHANGE_DATA or method in MUTATORS or not {"inplace", "out"}.isdisjoint(told)
    return may_change(library) and not only_reads(method)


def gives_parts(library: str, method: str) -> bool:
    """Whether what a method gives is a part of the object, or a view of it."""
    return not in_memory(library) or method in _GIVE_PARTS


def may_change(name: str) -> bool:
    """Whether what a function or class of a library gives may be changed by its methods: of the standard library all
    that is not known not to be."""
    if name.startswith(ITERATES) or in_memory(name):
        return True
    return name.partition(".")[0] in sys.stdlib_module_names and "." in name and not name.startswith(_UNCHANGING)


def only_reads(method: str) -> bool:
    return method in READERS or method in DATA_METHODS or method.startswith(_ASKS)


_ASKS = ("get", "has_", "is", "to", "sections", "options", "digest", "fileno", "closed", "match", "search", "find")


CONTAINERS = {
    "collections.OrderedDict": "dict",
    "collections.defaultdict": "dict",
    "collections.Counter": "dict",
    "collections.deque": "list",
    "itertools.count": "counter",
    "itertools.cycle": "counter",
    "types.SimpleNamespace": "instance",
    "sortedcontainers.SortedDict": "instance",
}

MUTATORS = words(
    "append extend insert remove pop clear sort reverse add discard update setdefault popitem appendleft "
    "popleft extendleft rotate subtract move_to_end difference_update intersection_update "
    "symmetric_difference_update __setitem__ __delitem__ write writelines put put_nowait send throw close set "
    "acquire release"
)
READERS = words(
    "get items keys values copy index count lower upper strip lstrip rstrip split rsplit splitlines join "
    "replace startswith endswith format encode decode title capitalize casefold isdigit isalpha isalnum "
    "isnumeric isoformat strftime timestamp date time find rfind hex zfill partition rpartition union "
    "intersection difference issubset issuperset most_common dict json model_dump model_dump_json model_copy "
    "_asdict total_seconds as_tuple __getitem__ __contains__ __len__ __iter__ weekday translate swapcase "
    "center ljust rjust is_integer"
)


PROCESS_SETTINGS = words(
    "random.seed random.setstate numpy.random.seed locale.setlocale sys.setrecursionlimit sys.setswitchinterval "
    "socket.setdefaulttimeout time.tzset mimetypes.add_type mimetypes.init csv.register_dialect csv.field_size_limit "
    "logging.disable logging.basicConfig logging.addLevelName logging.config.dictConfig logging.config.fileConfig "
    "logging.setLoggerClass warnings.simplefilter warnings.filterwarnings warnings.resetwarnings codecs.register "
    "sys.setprofile sys.settrace copyreg.pickle os.umask os.nice numpy.set_printoptions numpy.seterr numpy.seterrcall "
    "pandas.set_option pandas.reset_option humanize.activate humanize.deactivate humanize.i18n.activate "
    "humanize.i18n.deactivate shortuuid.set_alphabet yaml.add_constructor yaml.add_representer "
    "yaml.add_multi_constructor faker.Faker.seed decimal.setcontext calendar.setfirstweekday gettext.textdomain "
    "gettext.bindtextdomain gettext.install urllib.request.install_opener xml.etree.ElementTree.register_namespace "
    "zoneinfo.reset_tzpath sqlite3.register_adapter sqlite3.register_converter email.charset.add_charset"
)
"""Functions that change something for the whole process."""
PROCESS_SETTERS = words("setLevel addHandler removeHandler addFilter removeFilter setFormatter")
"""Methods that do, of what a process finds by name."""


def about(name: str) -> tuple[Kind, str]:
    """What is known of a dotted name of a library, and in words what it keeps."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        found = _TABLE.get(".".join(parts[:length]))
        if found is not None:
            return found
    if parts[0] in sys.stdlib_module_names:
        return Kind.PURE, ""
    return Kind.UNKNOWN, f"a library that is not known ({parts[0]})"
