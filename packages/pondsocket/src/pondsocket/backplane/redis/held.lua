#!lua
-- Returns memberships that were put under a lease. One that holds nothing, and has ended, is gone.
-- KEYS: nodes, held. ARGV: the lease, how many.
local held = redis.call('SRANDMEMBER', KEYS[2], ARGV[2])
if #held == 0 then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if ends and tonumber(ends) <= now then redis.call('ZREM', KEYS[1], ARGV[1]) end
end
return held
