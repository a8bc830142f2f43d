-- Applies a batch of commits, each partition whole or not at all. docs/PROTOCOL.md section 3 says what is checked.
--
-- ARGV: owner ("" to check the epoch alone), milliseconds of a bucket, milliseconds that a bucket outlives its end,
--       and one flat MessagePack list, which unpacks three times faster than nested ones. In it, for each commit:
--         number of items that follow; partition, epoch, sequence before and after, move's owner ("" for none), move's epoch;
--         buckets, and for each: number, ids n, n ids;
--         contexts, and for each: key, 1 created | 2 emptied | 0, items n of sets, items m of removes, sets, removes;
--         n, outbox (seq, message)s; n, acknowledged seqs; n, dead (id, letter)s; n, ids of replayed
--       Bytes are packed as raw: this cmsgpack knows no bin. What becomes part of a key or a field is a string,
--       as doubles do not concatenate exactly.
-- Reply: for each refused commit {index from 1, outcome, duplicate ids...}; nothing for those applied. A key of the
-- wrong type refuses the commit of its partition alone: {index, 'damaged', what is wrong}.

local call = redis.call
local ARGS_MAX = 1000 -- of one call; unpack() fails at about 8000. Even, so that pairs stay together.

local owner, bucket_ms, keep_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local items = cmsgpack.unpack(ARGV[4])

-- The command on the n items from `at`; returns where they end.
local function many(command, key, at, n)
  local stop = at + n
  while at < stop do
    local last = math.min(at + ARGS_MAX, stop) - 1
    call(command, key, unpack(items, at, last))
    at = last + 1
  end
  return stop
end

-- Why the commit is refused (or true: it was applied by an earlier try), by owner, epoch and sequence; nil if not.
local function unfit(meta, epoch, sequence, becomes, moves)
  local stored = call('HMGET', meta, 'owner', 'epoch', 'seq')
  if not stored[1] or stored[1] == '' or tonumber(stored[2]) ~= epoch or (owner ~= '' and stored[1] ~= owner) then
    -- A move takes the partition from its own caller: was it this very commit, at an earlier try?
    if moves and call('HGET', meta, 'moved') == string.format('%.0f:%.0f', epoch, sequence) then return true end
    return 'fenced'
  end
  local applied = tonumber(stored[3] or 0)
  if applied == sequence then return nil end
  return applied == becomes or 'gap'
end

-- Which ids were seen before (nil if none), and where the buckets end; notes in `fresh` which are not there yet.
local function seen_before(prefix, at, fresh)
  local duplicates
  for _ = 1, items[at] do
    local bucket, first = prefix .. items[at + 1], at + 3
    local stop = first + items[at + 2]
    if call('EXISTS', bucket) == 0 then
      fresh[bucket] = true
    else
      for chunk = first, stop - 1, ARGS_MAX do
        local flags = call('SMISMEMBER', bucket, unpack(items, chunk, math.min(chunk + ARGS_MAX, stop) - 1))
        for i = 1, #flags do
          if flags[i] == 1 then
            duplicates = duplicates or {}
            duplicates[#duplicates + 1] = items[chunk + i - 1]
          end
        end
      end
    end
    at = stop - 1
  end
  return duplicates, at + 1
end

local function write_seen(prefix, at, fresh)
  local buckets = items[at]
  at = at + 1
  for _ = 1, buckets do
    local number = items[at]
    local bucket = prefix .. number
    at = many('SADD', bucket, at + 2, items[at + 1])
    if fresh[bucket] then call('PEXPIREAT', bucket, (tonumber(number) + 1) * bucket_ms + keep_ms) end
  end
end

local function write_contexts(prefix, at)
  local keys, added = prefix .. 'keys', {}
  local contexts = items[at]
  at = at + 1
  for _ = 1, contexts do
    local key, fate, sets, removes = items[at], items[at + 1], items[at + 2], items[at + 3]
    local context = prefix .. 'ctx:' .. key
    at = at + 4
    if fate == 2 then
      call('DEL', context)
      call('SREM', keys, key)
      added[key] = nil
      at = at + sets + removes
    else
      if fate == 1 then added[key] = true end
      at = many('HSET', context, at, sets)
      at = many('HDEL', context, at, removes)
    end
  end
  for key in pairs(added) do call('SADD', keys, key) end
  return at
end

local function apply(at)
  local prefix, epoch, sequence = 'lq:{' .. items[at] .. '}:', items[at + 1], items[at + 2]
  local becomes, target, target_epoch = items[at + 3], items[at + 4], items[at + 5]
  local meta, seen, fresh = prefix .. 'meta', prefix .. 'seen:', {}
  local no = unfit(meta, epoch, sequence, becomes, target ~= '')
  if no then return no end
  local buckets, duplicates = at + 6, nil
  duplicates, at = seen_before(seen, buckets, fresh)
  if duplicates then return 'seen', duplicates end

  at = write_contexts(prefix, at)
  at = many('HSET', prefix .. 'out', at + 1, items[at])
  at = many('HDEL', prefix .. 'out', at + 1, items[at])
  at = many('HSET', prefix .. 'dead', at + 1, items[at])
  many('HDEL', prefix .. 'dead', at + 1, items[at])
  write_seen(seen, buckets, fresh) -- after what a damaged key may stop: what is not written is not seen
  if target == '' then
    call('HSET', meta, 'seq', becomes)
  else
    call('HSET', meta, 'seq', becomes, 'moved', string.format('%.0f:%.0f', epoch, sequence),
         'owner', target, 'epoch', target_epoch)
  end
  return nil
end

-- Which key of the commit is of the wrong type.
local function culprit(at)
  local prefix, buckets = 'lq:{' .. items[at] .. '}:', items[at + 6]
  local kinds = {meta = 'hash', out = 'hash', dead = 'hash', keys = 'set'}
  at = at + 7
  for _ = 1, buckets do
    kinds['seen:' .. items[at]] = 'set'
    at = at + 2 + items[at + 1]
  end
  local contexts = items[at]
  at = at + 1
  for _ = 1, contexts do
    kinds['ctx:' .. items[at]] = 'hash'
    at = at + 4 + items[at + 2] + items[at + 3]
  end
  for name, kind in pairs(kinds) do
    local found = call('TYPE', prefix .. name).ok
    if found ~= kind and found ~= 'none' then return prefix .. name .. ' is of the wrong type (' .. found .. ')' end
  end
  return prefix .. '* has a key of the wrong type'
end

local refused, at, index = {}, 1, 0
while items[at] do
  index = index + 1
  local fine, no, duplicates = pcall(apply, at + 1)
  if not fine then
    local text = type(no) == 'table' and no.err or tostring(no)
    if not string.find(text, 'WRONGTYPE', 1, true) then return redis.error_reply(text) end
    refused[#refused + 1] = {index, 'damaged', culprit(at + 1)}
  elseif no and no ~= true then
    local answer = {index, no}
    for _, id in ipairs(duplicates or {}) do answer[#answer + 1] = id end
    refused[#refused + 1] = answer
  end
  at = at + 1 + items[at]
end
return refused
