-- Compare-and-set of placements. ARGV: MessagePack list of liquefy.commits.PlaceRequest (partition, epoch, owner,
-- least), and the term of the controller that asks (0: none). A partition that a later leader has read or placed is
-- not touched.
-- Reply: flat list of the owner and epoch stored afterwards, for each request.

local term, reply = tonumber(ARGV[2]), {}
for _, request in ipairs(cmsgpack.unpack(ARGV[1])) do
  local meta = 'lq:{' .. request[1] .. '}:meta'
  local stored = redis.call('HMGET', meta, 'owner', 'epoch', 'term')
  local owner, epoch = stored[1] or '', stored[2] or '0'
  if term > 0 and tonumber(stored[3] or '0') > term then
    return redis.error_reply('DEPOSED ' .. stored[3])
  end
  if tonumber(epoch) == request[2] then
    owner, epoch = request[3], string.format('%.0f', math.max(request[2] + 1, request[4]))
    redis.call('HSET', meta, 'owner', owner, 'epoch', epoch)
    if term > 0 then redis.call('HSET', meta, 'term', ARGV[2]) end
  end
  reply[#reply + 1] = owner
  reply[#reply + 1] = epoch
end
return reply
