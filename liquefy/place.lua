-- Compare-and-set of placements. ARGV: MessagePack list of liquefy.commits.PlaceRequest (partition, epoch, owner).
-- Reply: flat list of the owner and epoch stored afterwards, for each request.

local reply = {}
for _, request in ipairs(cmsgpack.unpack(ARGV[1])) do
  local meta = 'lq:{' .. request[1] .. '}:meta'
  local stored = redis.call('HMGET', meta, 'owner', 'epoch')
  local owner, epoch = stored[1] or '', stored[2] or '0'
  if tonumber(epoch) == request[2] then
    owner, epoch = request[3], string.format('%.0f', request[2] + 1)
    redis.call('HSET', meta, 'owner', owner, 'epoch', epoch)
  end
  reply[#reply + 1] = owner
  reply[#reply + 1] = epoch
end
return reply
