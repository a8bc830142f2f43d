-- One controller's wish to lead, or to go on leading. ARGV: name, address, term (0: does not lead now), the highest term
-- that it has heard of, milliseconds of the lease (0: gives it up), 1 if it reaches the broker.
-- Reply: term, name and address of who leads now; 1 if another one that reaches the broker waits.
--
-- By the clock of the store alone. A term is never given twice, unless the store lost what it had: then the one who
-- knows the highest term has it.

local key = '{lq}:leader'
local name, address, lease = ARGV[1], ARGV[2], tonumber(ARGV[5])
local term, known = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local found = redis.call('HMGET', key, 'name', 'address', 'term', 'until', 'rival', 'rival_ms')
local leads, stored, ends = found[1] or '', tonumber(found[3] or '0'), tonumber(found[4] or '0')

local mine = term > 0 and (term > stored or (term == stored and leads == name))
if not mine and term == 0 and lease > 0 and (leads == name or ends <= now) then
  term = math.max(stored, known) + 1
  mine = true
  redis.call('HDEL', key, 'rival', 'rival_ms')
  found[5] = false
end
if mine then
  if lease == 0 then name, address = '', '' end
  redis.call('HSET', key, 'name', name, 'address', address, 'term', string.format('%.0f', term),
             'until', string.format('%.0f', now + lease))
  -- Not older than a lease: who asks this has been without a broker for longer, and the other one has had it meanwhile.
  local waits = found[5] and found[5] ~= name and now - tonumber(found[6]) < lease
  return {term, name, address, waits and 1 or 0}
end
if lease > 0 and ARGV[6] == '1' then
  redis.call('HSET', key, 'rival', name, 'rival_ms', string.format('%.0f', now))
end
return {stored, leads, found[2] or '', 0}
