-- Where partitions are, read by the controller that leads in this term: who led before it can place them no more.
-- ARGV: term, MessagePack list of partitions. Reply: flat list of owner and epoch of each.

local term, reply = tonumber(ARGV[1]), {}
for _, partition in ipairs(cmsgpack.unpack(ARGV[2])) do
  local meta = 'lq:{' .. partition .. '}:meta'
  local stored = redis.call('HMGET', meta, 'owner', 'epoch', 'term')
  local before = tonumber(stored[3] or '0')
  if before > term then return redis.error_reply('DEPOSED ' .. stored[3]) end
  if stored[2] and before < term then redis.call('HSET', meta, 'term', ARGV[1]) end
  reply[#reply + 1] = stored[1] or ''
  reply[#reply + 1] = stored[2] or '0'
end
return reply
