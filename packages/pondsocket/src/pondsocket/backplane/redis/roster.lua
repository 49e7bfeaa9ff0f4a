#!lua
-- Returns the epoch and the version of a topic's presence, and who shows what.
-- KEYS: run, meta, log, entries, users. ARGV: a new epoch, position_ttl in milliseconds.
local run = redis.call('GET', KEYS[1])
if not run then return redis.error_reply('NORUN the engine has lost its keys') end
local known = redis.call('HMGET', KEYS[2], 'run', 'epoch', 'version')
if known[1] ~= run then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  redis.call(
    'HSET', KEYS[2], 'run', run, 'epoch', ARGV[1], 'top', 0, 'version', 0)
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  return {ARGV[1], 0, {}}
end
local found = {}
local entries = redis.call('HGETALL', KEYS[4])
for place = 1, #entries, 2 do
  local entry = cmsgpack.unpack(entries[place + 1])
  if entry[3] then found[#found + 1] = {entries[place], entry[2], entry[3]} end
end
return {known[2], tonumber(known[3]), found}
