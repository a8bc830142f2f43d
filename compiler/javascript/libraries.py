"""What is known of packages: which keep nothing between requests, which keep state of their own, which give what
differs from run to run. A package that is not in these lists is not known, and so may do anything.
"""

from __future__ import annotations

from enum import StrEnum


class Sort(StrEnum):
    PURE = "pure"
    """Functions of their arguments, and objects made of them that keep nothing else."""
    CLIENT = "client"
    """A handle of something that runs elsewhere: a database, a service."""
    MIDDLEWARE = "middleware"
    """Makes middleware that keeps nothing."""
    WRAPPER = "wrapper"
    """Takes a handler, gives one that does the same."""
    FRAMEWORK = "framework"
    STATEFUL = "stateful"
    MACHINE = "machine"
    """Files, processes."""
    UNKNOWN = "unknown"


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PURE = names(
    """path url querystring util crypto zlib assert buffer string_decoder punycode os perf_hooks constants lodash
    underscore ramda rambda moment moment-timezone dayjs luxon date-fns uuid nanoid shortid cuid ulid hat joi
    @hapi/joi celebrate ajv ajv-formats yup zod validator express-validator superstruct jsonschema is-url valid-url
    http-errors http-status http-status-codes http-assert boom @hapi/boom statuses verror bcrypt bcryptjs argon2
    scrypt-kdf jsonwebtoken jws jwt-simple jose md5 sha1 crypto-js hashids object-hash fast-json-stable-stringify
    slugify slug speakingurl he html-entities escape-html sanitize-html xss marked markdown-it showdown highlight.js
    ms bytes debug chalk colors picocolors kleur ansi-styles cli-color object-assign deep-equal fast-deep-equal
    deepmerge merge extend xtend clone clone-deep lodash.merge lodash.pick lodash.omit qs query-string url-join
    path-to-regexp mime mime-types content-type accepts negotiator type-is vary etag fresh basic-auth auth-header
    parseurl cookie cookie-signature base64-url base64url base-64 utf8 iconv-lite humps camelcase camelcase-keys
    snakecase-keys change-case inflection pluralize title-case faker @faker-js/faker chance casual random-words
    randomstring semver yargs minimist commander dotenv dotenv-expand dotenv-safe dotenv-flow config rc nconf
    app-root-path app-module-path module-alias inherits depd safe-buffer es6-promise bluebird q async co await-to-js
    p-map p-limit regenerator-runtime core-js core-js-pure babel-polyfill @babel/polyfill @babel/runtime
    babel-runtime tslib source-map-support ejs pug jade handlebars hbs mustache nunjucks swig consolidate
    express-handlebars eta express-ejs-layouts csv-parse csv-stringify papaparse xml2js fast-xml-parser js-yaml yaml
    ini toml cheerio big.js bignumber.js decimal.js mathjs numeral currency.js geolib google-libphonenumber
    libphonenumber-js useragent ua-parser-js express-useragent reflect-metadata stream winston pino bunyan log4js
    signale loglevel npmlog express-winston stream-buffers timers validate.js is_js is email-validator password-hash"""
)
_CLIENTS = names(
    """pg pg.js pg-native pg-promise pg-pool postgres mysql mysql2 mysql2/promise mariadb mssql tedious oracledb
    mongodb mongoose monk mongojs mongoskin redis ioredis cassandra-driver couchbase nano rethinkdb rethinkdbdash
    neo4j-driver elasticsearch @elastic/elasticsearch typeorm @prisma/client bookshelf objection knex sequelize
    @sequelize/core waterline mikro-orm axios node-fetch got request request-promise request-promise-native
    superagent needle phin undici isomorphic-fetch cross-fetch whatwg-fetch unirest bent ky wreck @hapi/wreck
    axios-retry nodemailer @sendgrid/mail twilio stripe aws-sdk firebase-admin @aws-sdk/client-s3
    @aws-sdk/client-dynamodb googleapis amqplib kafkajs nats connect-redis connect-mongo connect-pg-simple
    connect-mongodb-session dynamoose @google-cloud/storage cloudinary mailgun-js mongoose-unique-validator
    mongoose-paginate mongoose-paginate-v2 dns tls"""
)
_MIDDLEWARE = names(
    """body-parser cors morgan helmet cookie-parser compression method-override cookie-session serve-favicon
    serve-static errorhandler response-time express-logger connect-timeout connect-livereload x-xss-protection hpp
    hsts nocache express-mongo-sanitize xss-clean multiparty express-request-id express-jwt express-jwt-permissions
    express-basic-auth koa-bodyparser koa-body koa-json koa-logger koa-static koa-cors @koa/cors kcors koa-helmet
    koa-compress koa-compose koa-convert koa-response-time koa-jwt koa-views koa-ejs koa-error koa-onerror koa-mount
    koa-favicon koa-conditional-get koa-etag @koa/bodyparser koa-session koa-respond koa-better-http-status koa-qs
    koa-jwt-authz koa-camelcase-keys express-async-errors serve-index swagger-ui-express swagger-jsdoc
    express-favicon express-boom express-status-monitor-lite connect-flash express-flash express-sanitizer
    forest-express @fastify/cors @fastify/helmet @fastify/formbody @fastify/cookie @fastify/static @fastify/jwt
    @fastify/sensible fastify-plugin fastify-cors fastify-helmet fastify-formbody fastify-cookie fastify-static
    fastify-jwt middie @fastify/middie @fastify/express resource-router-middleware errorhandlebars"""
)
_WRAPPERS = names("express-async-handler express-asyncify async-middleware express-async-wrap fastify-plugin")
FRAMEWORKS = {
    **dict.fromkeys(("express", "@types/express"), "express"),
    **dict.fromkeys(("koa", "koa-router", "@koa/router", "koa-route", "koa-better-router"), "koa"),
    "fastify": "fastify",
    **dict.fromkeys(("http", "https", "http2"), "http"),
}
_STATEFUL = {
    "express-session": "a session store in memory (express-session)",
    "memorystore": "a session store in memory (memorystore)",
    "session-file-store": "a session store in files (session-file-store)",
    "koa-generic-session": "a session store in memory (koa-generic-session)",
    "koa-session-minimal": "a session store in memory (koa-session-minimal)",
    "passport": "passport, whose strategies keep state of their own",
    "nedb": "a database in this process (nedb)",
    "nedb-promises": "a database in this process (nedb-promises)",
    "@seald-io/nedb": "a database in this process (nedb)",
    "tingodb": "a database in this process (tingodb)",
    "lowdb": "a database in a file (lowdb)",
    "node-json-db": "a database in a file (node-json-db)",
    "lokijs": "a database in this process (lokijs)",
    "sqlite3": "a database in a file (sqlite3)",
    "better-sqlite3": "a database in a file (better-sqlite3)",
    "sqlite": "a database in a file (sqlite)",
    "node:sqlite": "a database in a file (node:sqlite)",
    "level": "a database in files (level)",
    "levelup": "a database in files (levelup)",
    "leveldown": "a database in files (leveldown)",
    "pouchdb": "a database in files (pouchdb)",
    "pg-mem": "a database in this process (pg-mem)",
    "mongodb-memory-server": "a database on this machine (mongodb-memory-server)",
    "json-server": "a database in a file (json-server)",
    "node-persist": "a store in files (node-persist)",
    "socket.io": "socket.io, which holds its clients' connections",
    "ws": "ws, which holds its clients' connections",
    "express-ws": "express-ws, which holds its clients' connections",
    "sockjs": "sockjs, which holds its clients' connections",
    "node-cache": "a cache in memory (node-cache)",
    "lru-cache": "a cache in memory (lru-cache)",
    "memory-cache": "a cache in memory (memory-cache)",
    "apicache": "a cache in memory (apicache)",
    "express-rate-limit": "a counter in memory (express-rate-limit)",
    "express-slow-down": "a counter in memory (express-slow-down)",
    "express-brute": "a counter in memory (express-brute)",
    "rate-limiter-flexible": "a counter in memory (rate-limiter-flexible)",
    "koa-ratelimit": "a counter in memory (koa-ratelimit)",
    "redux": "a store in memory (redux)",
    "multer": "what is uploaded, kept on this machine (multer)",
    "formidable": "what is uploaded, kept on this machine (formidable)",
    "express-fileupload": "what is uploaded, kept on this machine (express-fileupload)",
    "events": "an emitter whose listeners live in this process",
    "eventemitter3": "an emitter whose listeners live in this process",
    "worker_threads": "threads of this process",
    "cluster": "processes of this machine",
    "net": "sockets of this process",
    "dgram": "sockets of this process",
    "readline": "the terminal of this process",
    "node-cron": "a timer of this process (node-cron)",
    "cron": "a timer of this process (cron)",
    "node-schedule": "a timer of this process (node-schedule)",
    "bull": "a queue's worker in this process (bull)",
}
_MACHINE = names(
    """fs fs/promises fs-extra graceful-fs jsonfile write-file-atomic mkdirp rimraf child_process execa shelljs"""
)

RANDOM = {
    "uuid": "a random id", "nanoid": "a random id", "shortid": "a random id", "cuid": "a random id",
    "ulid": "a random id", "hat": "a random id",
    "faker": "made at random", "@faker-js/faker": "made at random", "chance": "made at random",
    "casual": "made at random", "randomstring": "made at random", "random-words": "made at random",
    "moment": "made of the time it starts", "dayjs": "made of the time it starts",
    "bcrypt": "a hash with a random salt", "bcryptjs": "a hash with a random salt",
    "argon2": "a hash with a random salt",
}  # fmt: skip
"""Packages whose results differ from run to run."""

KEEPS_FUNCTIONS = names(
    """zod joi @hapi/joi celebrate yup ajv superstruct jsonschema validate.js express-validator handlebars hbs
    express-handlebars nunjucks mustache pug jade swig eta marked markdown-it showdown sanitize-html xss winston
    express-winston pino bunyan log4js"""
)
"""Packages that keep the functions that they are given at start, and call them while they work for requests."""

WRAPS = names(
    """memoize memoizeWith once after before throttle debounce partial partialRight curry curryRight flow flowRight pipe
    pipeWith compose wrap negate bind bindKey ary unary flip rearg overArgs converge promisify promisifyAll callbackify
    coroutine queue priorityQueue cargo cargoQueue asyncify deprecate"""
)
"""Functions of libraries that make a function, or a thing, of functions: those are called when that is."""

REMEMBERS = names("memoize memoizeWith once after before throttle debounce queue priorityQueue cargo cargoQueue")
"""Of those, what knows of earlier calls."""

CHANGING = names("moment moment-timezone chance string_decoder")
"""Packages whose objects change when they are used."""

CHANGING_MADE = names(
    """createHash createHmac createCipheriv createDecipheriv createSign createVerify createECDH createDiffieHellman"""
)
"""Functions of libraries that make such objects."""

COUNTS = names("uniqueId")
"""Functions of libraries that give another result each time, in order."""

SETTINGS = names(
    """locale globalLocale defineLocale updateLocale setLocale registerPartial unregisterPartial registerHelper
    unregisterHelper registerLanguage setOptions setDefault seed configure enable disable mixin"""
)
"""Functions of libraries, as such, after which the library does something else for everybody."""

_SETTINGS_OF = {
    "nconf": "set add use file env argv defaults overrides reset clear merge remove save load",
    "marked": "use",
    "dayjs": "extend",
    "mime": "define",
    "mathjs": "config import",
    "numeral": "register defaultFormat zeroFormat nullFormat options",
    "pluralize": "addPluralRule addSingularRule addUncountableRule addIrregularRule",
    "bignumber.js": "config set",
    "decimal.js": "config set",
    "zod": "setErrorMap config",
    "slugify": "extend",
    "module-alias": "addAlias addAliases addPath",
    "highlight.js": "registerAliases removePlugins addPlugin",
    "showdown": "setOption setFlavor extension removeExtension resetExtensions resetOptions",
}
"""The same, by names that say something else elsewhere."""

KEEPS_NOTHING = names(
    """dayjs luxon date-fns bignumber.js big.js decimal.js currency.js zod joi @hapi/joi yup superstruct hashids
    validator jsonschema path os semver slugify debug lodash underscore ramda"""
)
"""Packages whose objects, once made, do not change: their methods give others."""

WORKS = names("crypto zlib string_decoder stream url perf_hooks stream-buffers")
"""Packages whose objects are there to be fed: what a method of theirs gives depends on the calls before."""

FED = names(
    """update digest final finalize end next reset seed subtract startOf endOf push add append prepend write clear set
    delete remove shift pop unshift splice addSchema addMetaSchema addVocabulary addKeyword addFormat removeSchema
    removeKeyword"""
)
"""Methods that change an object of another package."""

UNCHANGED = names(
    """createSecretKey createPublicKey createPrivateKey X509Certificate KeyObject getHashes getCiphers getCurves parse
    format resolve fileURLToPath pathToFileURL toString toJSON copy clone export equals inspect get has keys values
    entries forEach then listenerCount eventNames"""
)
"""What makes an object that never changes, and methods that change none."""

FIXED = names(
    """Error TypeError RangeError SyntaxError EvalError URIError ReferenceError AggregateError String Number Boolean
    BigInt Symbol Object Function TextEncoder Blob File Date URL URLSearchParams Collator DateTimeFormat NumberFormat
    PluralRules RelativeTimeFormat ListFormat DisplayNames Locale Segmenter"""
)
"""Classes of the language whose objects do not change, or are followed otherwise."""

CHANCES = names("shuffle sample sampleSize random uniqueId")
"""Functions of lodash and the like."""

CRYPTO_RANDOM = names(
    """randomBytes randomUUID randomInt generateKeyPairSync generateKeyPair generateKeySync randomFillSync"""
)
FILE_WRITES = names(
    """writeFile writeFileSync appendFile appendFileSync createWriteStream unlink unlinkSync rename renameSync mkdir
    mkdirSync rm rmSync rmdir rmdirSync truncate truncateSync copyFile copyFileSync open openSync write writeSync
    symlink symlinkSync chmod outputFile outputFileSync outputJson outputJsonSync writeJson writeJsonSync writeJSON
    writeJSONSync ensureDir ensureDirSync ensureFile ensureFileSync emptyDir emptyDirSync remove removeSync move
    moveSync copy copySync mkdtemp mkdtempSync utimes"""
)
WATCHES = names("watch watchFile")
MUTATES_FIRST = names(
    """assign assignIn extend extendOwn merge mergeWith defaults defaultsDeep set setWith unset update remove pull
    pullAll pullAt pullAllBy fill reverse splice push pop shift unshift sort assignWith"""
)
"""Functions of lodash and the like that change their first argument."""

PLAIN_RESULTS = names(
    """format toISOString toString toJSON valueOf unix diff fromNow toDate toNow isValid isBefore isAfter sign verify
    decode hash hashSync compare compareSync v1 v3 v4 v5 v7 generate digest stringify parse join resolve basename
    dirname extname now randomUUID toObject encode decode validate text json isEmail isURL trim escape"""
)
"""Methods of libraries whose results are data that can be stored."""

CONNECTS = names(
    """connect createConnection createPool createPoolCluster createClient getConnection db collection model define
    create createTransport Schema Types get_connection duplicate extend defaults instance pool acquire init
    initializeApp firestore database auth withSchema from schema on promise client Client Pool Sequelize MongoClient
    connection"""
)
"""Methods of clients that give another handle, rather than data."""

SQL = names("knex sequelize @sequelize/core typeorm bookshelf objection @prisma/client mikro-orm waterline")


def may_change(package: str, name: str) -> bool:
    """Whether a method of an object that the package has made may change the object."""
    if package in WORKS or package == "global":
        return name not in UNCHANGED
    return package not in KEEPS_NOTHING and name in FED


def sets(package: str, name: str) -> bool:
    """Whether that function of the package, called as such, changes what it does for everybody."""
    return name in SETTINGS or name in _SETTINGS_OF.get(package, "").split()


def package_of(name: str) -> str:
    """`lodash/merge` -> `lodash`; `node:fs` -> `fs`."""
    if name == "node:sqlite":
        return name
    name = name.removeprefix("node:")
    if sort_of(name) is not Sort.UNKNOWN:
        return name
    parts = name.split("/")
    return "/".join(parts[:2]) if name.startswith("@") else parts[0]


def sort_of(package: str) -> Sort:
    if package in FRAMEWORKS:
        return Sort.FRAMEWORK
    if package in _WRAPPERS:
        return Sort.WRAPPER
    if package in _MIDDLEWARE:
        return Sort.MIDDLEWARE
    if package in _PURE or package.startswith("lodash."):
        return Sort.PURE
    if package in _CLIENTS:
        return Sort.CLIENT
    if package in _STATEFUL:
        return Sort.STATEFUL
    if package in _MACHINE:
        return Sort.MACHINE
    return Sort.UNKNOWN


def keeps(package: str) -> str:
    """What a package keeps, in words that complete "it is ..."."""
    return _STATEFUL.get(package) or f"something of the package {package}, of which it is not known what it keeps"
