#!lua
-- Returns the epoch, the top and kept messages of a topic, and whether more follow; see
-- Backplane.read.
-- KEYS: run, meta, log, entries, users. ARGV: known epoch, known offset, latest; size, ttl and
-- position_ttl in milliseconds; a new epoch; how many bytes to return; 1: the page after an offset.
local run = redis.call('GET', KEYS[1])
if not run then return redis.error_reply('NORUN the engine has lost its keys') end
local known = redis.call('HMGET', KEYS[2], 'run', 'epoch', 'top', 'total', 'before')
local epoch, top = known[2], tonumber(known[3])
if known[1] ~= run then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  epoch, top = ARGV[7], 0
  redis.call(
    'HSET', KEYS[2], 'run', run, 'epoch', epoch, 'top', 0, 'version', 0, 'kept', ARGV[6])
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
  return {epoch, top, {}, 0}
end
local since, is_next = top - tonumber(ARGV[4]), ARGV[9] == '1'
if ARGV[1] == epoch then
  since = math.min(tonumber(ARGV[2]), top - tonumber(ARGV[3]))
end
since = math.max(since, top - tonumber(ARGV[4]), 0)
if is_next then since = tonumber(ARGV[2]) end
local time = redis.call('TIME')
local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[5])
local found, bytes, most = {}, 0, tonumber(ARGV[8])
-- About a page: what is copied into the script and not returned costs as much.
local bytes_kept = tonumber(known[4] or 0) - tonumber(known[5] or 0)
local size = bytes_kept / math.max(1, redis.call('XLEN', KEYS[3]))
local count = math.max(1, math.min(64, math.floor(most / math.max(1, size))))
repeat
  local some = redis.call('XRANGE', KEYS[3], (since + 1) .. '-0', '+', 'COUNT', count)
  for _, entry in ipairs(some) do
    local fields = entry[2]
    since = tonumber(string.match(entry[1], '^%d+'))
    -- One that is old behind one that is not: the clock has been set back.
    if is_next or #found > 0 or tonumber(fields[2]) > oldest then
      found[#found + 1] = {since, fields[4], fields[6]}
      bytes = bytes + #fields[4]
      if bytes >= most then break end
    end
  end
until bytes >= most or #some < count
return {epoch, top, found, since < top and bytes >= most and 1 or 0}
