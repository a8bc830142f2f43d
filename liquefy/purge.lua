-- One step of removing what an unplaced partition leaves: some of its contexts, or, when there are none, the rest.
-- In steps, because a script stops the whole store. A partition that has an owner again is left alone.
--
-- ARGV: partition, contexts of one step. Reply: 1 if there may be more.

local prefix = 'lq:{' .. ARGV[1] .. '}:'
local owner = redis.call('HGET', prefix .. 'meta', 'owner')
if owner and owner ~= '' then return 0 end
local keys = redis.call('SPOP', prefix .. 'keys', ARGV[2])
for _, key in ipairs(keys) do
  redis.call('UNLINK', prefix .. 'ctx:' .. key)
end
if #keys > 0 then return 1 end
redis.call('UNLINK', prefix .. 'meta', prefix .. 'dead')
return 0
