#!lua
-- Gives a lease up. What is still held under it is swept at once.
-- KEYS: nodes, held. ARGV: the lease.
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('ZADD', KEYS[1], 'XX', 0, ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
