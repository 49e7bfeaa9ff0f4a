#!lua
-- Returns the epoch and the version of a topic's presence, a page of who shows what, and where the
-- next one begins; 0: there is none.
-- KEYS: run, meta, log, entries, users. ARGV: a new epoch, position_ttl in milliseconds; where the
-- page begins, about how many bytes to return.
local run = redis.call('GET', KEYS[1])
if not run then return redis.error_reply('NORUN the engine has lost its keys') end
local known = redis.call('HMGET', KEYS[2], 'run', 'epoch', 'version')
if known[1] ~= run then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  redis.call(
    'HSET', KEYS[2], 'run', run, 'epoch', ARGV[1], 'top', 0, 'version', 0)
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  return {ARGV[1], 0, {}, '0'}
end
local found, bytes, cursor = {}, 0, ARGV[3]
repeat
  local page = redis.call('HSCAN', KEYS[4], cursor, 'COUNT', 64)
  cursor = page[1]
  for place = 1, #page[2], 2 do
    local entry = cmsgpack.unpack(page[2][place + 1])
    if entry[3] then
      found[#found + 1] = {page[2][place], entry[2], entry[3]}
      bytes = bytes + #entry[3]
    end
  end
until cursor == '0' or bytes >= tonumber(ARGV[4])
return {known[2], tonumber(known[3]), found, cursor}
