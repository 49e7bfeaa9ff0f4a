#!lua
-- Renews a lease, or begins another. Returns whether it lived, and the leases that have ended.
-- KEYS: nodes. ARGV: the lease, the next one, milliseconds.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
local is_alive = ends and tonumber(ends) > now
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), is_alive and ARGV[1] or ARGV[2])
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 16)
return {is_alive and 1 or 0, dead}
