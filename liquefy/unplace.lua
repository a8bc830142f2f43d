-- Takes partitions from their owners: no owner, epoch + 1 (so that whoever had it is fenced, and a later deployment
-- goes on from there); outbox and seen ids dropped; contexts and dead letters kept. Doing it twice changes nothing more.
--
-- ARGV: milliseconds of a bucket, milliseconds that a bucket outlives its end, MessagePack list of partitions, the term
-- of the controller that asks (0: none).

local bucket_ms, keep_ms, term = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local oldest = math.floor((now_ms - keep_ms) / bucket_ms) - 1 -- older ones have expired
local newest = math.floor((now_ms + keep_ms) / bucket_ms) + 1 -- no clock is that wrong

for _, partition in ipairs(cmsgpack.unpack(ARGV[3])) do
  local prefix = 'lq:{' .. partition .. '}:'
  local kind = redis.call('TYPE', prefix .. 'meta').ok
  if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', prefix .. 'meta') end -- damaged, and of no use to anybody
  local stored = redis.call('HMGET', prefix .. 'meta', 'owner', 'epoch', 'term')
  if term > 0 and tonumber(stored[3] or '0') > term then
    return redis.error_reply('DEPOSED ' .. stored[3])
  end
  if stored[1] and stored[1] ~= '' then
    redis.call('HSET', prefix .. 'meta', 'owner', '', 'epoch', (tonumber(stored[2]) or 0) + 1)
  end
  local gone = {prefix .. 'out'}
  for bucket = oldest, newest do
    gone[#gone + 1] = prefix .. 'seen:' .. string.format('%.0f', bucket)
  end
  redis.call('UNLINK', unpack(gone))
end
return 0
