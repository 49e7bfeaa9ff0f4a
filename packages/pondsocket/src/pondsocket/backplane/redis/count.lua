#!lua flags=no-writes
-- Returns how many users hold memberships of a topic; of one user, how many memberships.
-- KEYS: run, meta, users. ARGV: the user, or nothing.
if redis.call('HGET', KEYS[2], 'run') ~= redis.call('GET', KEYS[1]) then return 0 end
if ARGV[1] == '' then return redis.call('HLEN', KEYS[3]) end
return tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or 0)
