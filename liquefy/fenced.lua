-- A command of the controller that leads in this term (0: whoever asks). One that another has followed is refused.
-- ARGV: term, the command with its key, which has the tag {lq}, and its arguments.

local term = tonumber(ARGV[1])
local last = redis.call('HGET', '{lq}:leader', 'term') or '0'
if term > 0 and term < tonumber(last) then return redis.error_reply('DEPOSED ' .. last) end
return redis.call(unpack(ARGV, 2))
