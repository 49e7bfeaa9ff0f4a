#!lua
-- Renews a lease, or begins another. Returns whether it lived, and the leases that have ended.
-- KEYS: nodes, heard. ARGV: the lease, the next one, its milliseconds; the longest silence.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local heard = tonumber(redis.call('GET', KEYS[2]) or now)
redis.call('SET', KEYS[2], now)
-- While no node was heard, it was the engine that could not be reached, or its clock has jumped.
-- Then no lease has run down: otherwise the first node to return would take the others for dead.
local silence = now - heard
if silence > tonumber(ARGV[4]) or silence < 0 then
  local alive = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. heard, '+inf', 'WITHSCORES')
  for place = 1, #alive, 2 do
    redis.call('ZADD', KEYS[1], alive[place + 1] + silence, alive[place])
  end
end
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
local is_alive = ends and tonumber(ends) > now
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), is_alive and ARGV[1] or ARGV[2])
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 16)
return {is_alive and 1 or 0, dead}
