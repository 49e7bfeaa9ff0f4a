#!lua
-- Returns the epoch, the top and the kept messages of a topic; see Backplane.read.
-- KEYS: run, meta, log, entries, users. ARGV: known epoch, known offset, latest; size, ttl and
-- position_ttl in milliseconds; a new epoch.
local run = redis.call('GET', KEYS[1])
if not run then return redis.error_reply('NORUN the engine has lost its keys') end
local known = redis.call('HMGET', KEYS[2], 'run', 'epoch', 'top')
local epoch, top = known[2], tonumber(known[3])
if known[1] ~= run then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  epoch, top = ARGV[7], 0
  redis.call(
    'HSET', KEYS[2], 'run', run, 'epoch', epoch, 'top', 0, 'version', 0, 'bytes', 0, 'kept', ARGV[6])
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
  return {epoch, top, {}}
end
local since = top - tonumber(ARGV[4])
if ARGV[1] == epoch then
  since = math.min(tonumber(ARGV[2]), top - tonumber(ARGV[3]))
end
since = math.max(since, top - tonumber(ARGV[4]), 0)
local time = redis.call('TIME')
local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[5])
local found = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[3], (since + 1) .. '-0', '+')) do
  local fields = entry[2]
  -- One that is old behind one that is not: the clock has been set back.
  if #found > 0 or tonumber(fields[2]) > oldest then
    found[#found + 1] = {tonumber(string.match(entry[1], '^%d+')), fields[4], fields[6]}
  end
end
return {epoch, top, found}
