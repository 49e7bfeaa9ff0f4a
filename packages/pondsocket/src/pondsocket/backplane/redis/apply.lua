#!lua
-- Carries out operations in order, once for each number of a node; see Backplane.apply.
-- KEYS: run, seq, nodes; then those that the operations name, by their index.
-- ARGV: number, lease, the beginning of new epochs; then the operations.
local run = redis.call('GET', KEYS[1])
if not run then return redis.error_reply('NORUN the engine has lost its keys') end
local number, lease = tonumber(ARGV[1]), ARGV[2]
local last = redis.call('HGET', KEYS[2], 'seq')
if last and tonumber(last) == number then
  return cmsgpack.unpack(redis.call('HGET', KEYS[2], 'results'))
elseif last and tonumber(last) > number then
  return redis.error_reply('STALE later operations of this node were carried out')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[3], lease)
local is_alive = ends and tonumber(ends) > now
local place, fresh = 3, 0

local function take()
  place = place + 1
  return ARGV[place]
end

local function is_current(key)
  return redis.call('HGET', KEYS[key], 'run') == run
end

-- The keys of a topic follow each other: meta, log, entries, users.
local function open(key)
  if is_current(key) then return redis.call('HGET', KEYS[key], 'epoch') end
  redis.call('DEL', KEYS[key], KEYS[key + 1], KEYS[key + 2], KEYS[key + 3])
  fresh = fresh + 1
  local epoch = ARGV[3] .. fresh
  redis.call('HSET', KEYS[key], 'run', run, 'epoch', epoch, 'top', 0, 'version', 0, 'bytes', 0)
  return epoch
end

-- The meta of a topic outlives its last message and its last member, but not for ever.
local function settle(key)
  if redis.call('EXISTS', KEYS[key + 2]) == 1 then
    redis.call('PERSIST', KEYS[key])
  else
    redis.call('PEXPIRE', KEYS[key], redis.call('HGET', KEYS[key], 'kept') or 86400000)
  end
end

local function trim(key, size, most)
  local log, count = KEYS[key + 1], redis.call('XLEN', KEYS[key + 1])
  local bytes = tonumber(redis.call('HGET', KEYS[key], 'bytes'))
  local surplus = 0
  if count > size + math.floor(size / 8) then surplus = count - size end
  local dropped = 0
  while count > 0 and (surplus > 0 or bytes > most) do
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', math.max(1, math.min(surplus, 64)))
    for _, entry in ipairs(oldest) do
      if surplus <= 0 and bytes <= most then break end
      bytes = bytes - #entry[2][4]
      surplus, count, dropped = surplus - 1, count - 1, dropped + 1
      redis.call('XDEL', log, entry[1])
    end
  end
  if dropped > 0 then redis.call('HSET', KEYS[key], 'bytes', bytes) end
end

local function append()
  local key, topic, data = tonumber(take()), take(), take()
  local size, ttl, most, kept = tonumber(take()), tonumber(take()), tonumber(take()), take()
  local spare, once = take(), tonumber(take())
  if once > 0 then
    local sent = redis.call('GET', KEYS[once])
    sent = sent and cmsgpack.unpack(sent)
    -- What an engine has kept over a restart may be older than what nodes were told.
    if sent and sent[3] == run then return {sent[1], sent[2]} end
  end
  local epoch, meta, log = open(key), KEYS[key], KEYS[key + 1]
  local spared = ''
  if spare ~= '' and tonumber(redis.call('HGET', KEYS[key + 3], spare) or 0) < 2 then
    spared = spare
  end
  local top = redis.call('HINCRBY', meta, 'top', 1)
  redis.call('XADD', log, top .. '-0', 't', now, 'd', data, 's', spared)
  if redis.call('XLEN', log) == 1 then
    redis.call('HSET', meta, 'bytes', #data)
  else
    redis.call('HINCRBY', meta, 'bytes', #data)
  end
  trim(key, size, most)
  redis.call('PEXPIRE', log, ttl)
  redis.call('HSET', meta, 'kept', kept)
  settle(key)
  local position = {epoch, top}
  if once > 0 then
    redis.call('SET', KEYS[once], cmsgpack.pack({epoch, top, run}), 'PX', 3600000)
  end
  redis.call(
    'PUBLISH', topic, 'A ' .. epoch .. ' ' .. top .. ' ' .. (top - 1) .. ' ' .. #spared .. '\n'
      .. spared .. data)
  return position
end

local function show(key, topic, changes)
  local version = redis.call('HINCRBY', KEYS[key], 'version', 1)
  local told = {'S ' .. redis.call('HGET', KEYS[key], 'epoch') .. ' ' .. version .. '\n'}
  for _, change in ipairs(changes) do
    local ref, user, shown = change[1], change[2], change[3]
    local size = shown and #shown or -1
    told[#told + 1] = #ref .. ' ' .. #user .. ' ' .. size .. '\n' .. ref .. user .. (shown or '')
  end
  redis.call('PUBLISH', topic, table.concat(told))
end

local function put()
  local key, topic, name, holder = tonumber(take()), take(), take(), tonumber(take())
  local ref, user, shown = take(), take(), take()
  if shown == '' then shown = false end
  if not is_alive then return -1 end
  open(key)
  local entries = KEYS[key + 2]
  local before = redis.call('HGET', entries, ref)
  local was = false
  if before then
    was = cmsgpack.unpack(before)[3]
  else
    redis.call('HINCRBY', KEYS[key + 3], user, 1)
  end
  redis.call('HSET', entries, ref, cmsgpack.pack({lease, user, shown}))
  redis.call('SADD', KEYS[holder], name .. '\n' .. ref)
  settle(key)
  if was ~= shown then show(key, topic, {{ref, user, shown}}) end
  return tonumber(redis.call('HGET', KEYS[key], 'version'))
end

local function drop()
  local key, topic, name, holder = tonumber(take()), take(), take(), tonumber(take())
  local owner, count = take(), tonumber(take())
  local entries, users = KEYS[key + 2], KEYS[key + 3]
  local known = is_current(key)
  local gone, hidden = {}, {}
  for _ = 1, count do
    local ref = take()
    redis.call('SREM', KEYS[holder], name .. '\n' .. ref)
    local entry = known and redis.call('HGET', entries, ref)
    entry = entry and cmsgpack.unpack(entry)
    if entry and (owner == '' or entry[1] == owner) then
      redis.call('HDEL', entries, ref)
      if redis.call('HINCRBY', users, entry[2], -1) <= 0 then
        redis.call('HDEL', users, entry[2])
        gone[#gone + 1] = entry[2]
      end
      if entry[3] then hidden[#hidden + 1] = {ref, entry[2], false} end
    end
  end
  if #hidden > 0 then show(key, topic, hidden) end
  if known then settle(key) end
  return gone
end

local results = {}
while place < #ARGV do
  local kind = take()
  local result
  if kind == 'A' then
    result = append()
  elseif kind == 'E' then
    local topic, data = take(), take()
    result = redis.call('PUBLISH', topic, 'E\n' .. data)
  elseif kind == 'P' then
    result = put()
  else
    result = drop()
  end
  results[#results + 1] = result
end
redis.call('HSET', KEYS[2], 'seq', number, 'results', cmsgpack.pack(results))
redis.call('PEXPIRE', KEYS[2], 3600000)
return results
