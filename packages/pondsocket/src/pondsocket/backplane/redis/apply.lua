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
local place, fresh, day = 3, 0, 86400000

local function take()
  place = place + 1
  return ARGV[place]
end

local time

local function now()
  if not time then
    local found = redis.call('TIME')
    time = found[1] * 1000 + math.floor(found[2] / 1000)
  end
  return time
end

local alive

local function is_alive()
  if alive == nil then
    local ends = redis.call('ZSCORE', KEYS[3], lease)
    alive = ends and tonumber(ends) > now() or false
  end
  return alive
end

-- What is known of the topics, by the index of their first key: each is read once, and written once
-- at the end. Their keys follow each other: meta, log, entries, users.
local topics = {}
-- `first` is the oldest kept message, `before` the bytes of all that came before it, and `total`
-- those of all messages; `kept` is how long the meta lives.
local fields = {'top', 'version', 'first', 'before', 'total', 'kept'}

local function find(key)
  local topic = topics[key]
  if topic == nil then
    local found = redis.call('HMGET', KEYS[key], 'run', 'epoch', unpack(fields))
    topic = false
    if found[1] == run then
      topic = {epoch = found[2], was = {}}
      for place, name in ipairs(fields) do
        local value = tonumber(found[place + 2] or 0)
        topic[name], topic.was[name] = value, value
      end
      if topic.kept == 0 then topic.kept = day end
    end
    topics[key] = topic
  end
  return topic
end

local function open(key)
  local topic = find(key)
  if not topic then
    redis.call('DEL', KEYS[key], KEYS[key + 1], KEYS[key + 2], KEYS[key + 3])
    fresh = fresh + 1
    topic = {epoch = ARGV[3] .. fresh, was = {}}
    for _, name in ipairs(fields) do topic[name] = 0 end
    topic.kept = day
    topics[key] = topic
  end
  return topic
end

local function settle(key, topic)
  local changed = {}
  if not topic.was.top then changed = {'run', run, 'epoch', topic.epoch} end
  for _, name in ipairs(fields) do
    if topic[name] ~= topic.was[name] then
      changed[#changed + 1] = name
      changed[#changed + 1] = topic[name]
    end
  end
  if #changed > 0 then redis.call('HSET', KEYS[key], unpack(changed)) end
  if topic.ttl then redis.call('PEXPIRE', KEYS[key + 1], topic.ttl) end
  -- The meta of a topic outlives its last message and its last member, but not for ever.
  if redis.call('EXISTS', KEYS[key + 2]) == 1 then
    redis.call('PERSIST', KEYS[key])
  else
    redis.call('PEXPIRE', KEYS[key], topic.kept)
  end
end

-- Each entry has the bytes of all messages up to it, so that what is trimmed need not be read.
local function trim(log, topic, size, most)
  local count = topic.top - topic.first + 1
  if count > size + math.floor(size / 8) then
    redis.call('XTRIM', log, 'MAXLEN', size)
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1][2]
    topic.first, topic.before = topic.top - size + 1, tonumber(oldest[8]) - #oldest[4]
  end
  if topic.total - topic.before <= most then return end
  while topic.total - topic.before > most do
    local some = redis.call('XRANGE', log, topic.first .. '-0', '+', 'COUNT', 8)
    if #some == 0 then topic.first, topic.before = topic.top + 1, topic.total end
    for _, entry in ipairs(some) do
      if topic.total - topic.before <= most then break end
      topic.first, topic.before = topic.first + 1, tonumber(entry[2][8])
    end
  end
  redis.call('XTRIM', log, 'MINID', topic.first .. '-0')
end

local function append()
  local key, channel, data = tonumber(take()), take(), take()
  local size, ttl = tonumber(take()), tonumber(take())
  local most, kept = tonumber(take()), tonumber(take())
  local spare, once = take(), tonumber(take())
  if once > 0 then
    local sent = redis.call('GET', KEYS[once])
    sent = sent and cmsgpack.unpack(sent)
    -- What an engine has kept over a restart may be older than what nodes were told.
    if sent and sent[3] == run then return {sent[1], sent[2]} end
  end
  local topic, log = open(key), KEYS[key + 1]
  local spared = ''
  if spare ~= '' and tonumber(redis.call('HGET', KEYS[key + 3], spare) or 0) < 2 then
    spared = spare
  end
  local top, total = topic.top + 1, topic.total + #data
  local id = top .. '-0'
  if not redis.call(
    'XADD', log, 'NOMKSTREAM', id, 't', now(), 'd', data, 's', spared, 'b', total) then
    topic.first, topic.before = top, topic.total
    redis.call('XADD', log, id, 't', now(), 'd', data, 's', spared, 'b', total)
  end
  topic.top, topic.total = top, total
  topic.ttl, topic.kept = ttl, kept
  trim(log, topic, size, most)
  if once > 0 then
    redis.call('SET', KEYS[once], cmsgpack.pack({topic.epoch, top, run}), 'PX', 3600000)
  end
  redis.call(
    'PUBLISH', channel, 'A ' .. topic.epoch .. ' ' .. top .. ' ' .. (top - 1) .. ' ' .. #spared
      .. '\n' .. spared .. data)
  return {topic.epoch, top}
end

local function show(topic, channel, changes)
  topic.version = topic.version + 1
  local told = {'S ' .. topic.epoch .. ' ' .. topic.version .. '\n'}
  for _, change in ipairs(changes) do
    local ref, user, shown = change[1], change[2], change[3]
    local size = shown and #shown or -1
    told[#told + 1] = #ref .. ' ' .. #user .. ' ' .. size .. '\n' .. ref .. user .. (shown or '')
  end
  redis.call('PUBLISH', channel, table.concat(told))
end

local function put()
  local key, channel, name, holder = tonumber(take()), take(), take(), tonumber(take())
  local ref, user, shown = take(), take(), take()
  if shown == '' then shown = false end
  if not is_alive() then return -1 end
  local topic, entries = open(key), KEYS[key + 2]
  local before = redis.call('HGET', entries, ref)
  local was = false
  if before then
    was = cmsgpack.unpack(before)[3]
  else
    redis.call('HINCRBY', KEYS[key + 3], user, 1)
  end
  redis.call('HSET', entries, ref, cmsgpack.pack({lease, user, shown}))
  redis.call('SADD', KEYS[holder], name .. '\n' .. ref)
  if was ~= shown then show(topic, channel, {{ref, user, shown}}) end
  return topic.version
end

local function drop()
  local key, channel, name, holder = tonumber(take()), take(), take(), tonumber(take())
  local owner, count = take(), tonumber(take())
  local topic, entries, users = find(key), KEYS[key + 2], KEYS[key + 3]
  local gone, hidden = {}, {}
  for _ = 1, count do
    local ref = take()
    redis.call('SREM', KEYS[holder], name .. '\n' .. ref)
    local entry = topic and redis.call('HGET', entries, ref)
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
  if #hidden > 0 then show(topic, channel, hidden) end
  return gone
end

local results = {}

local function carry_out()
  while place < #ARGV do
    local kind = take()
    local result
    if kind == 'A' then
      result = append()
    elseif kind == 'E' then
      local channel, data = take(), take()
      result = redis.call('PUBLISH', channel, 'E\n' .. data)
    elseif kind == 'P' then
      result = put()
    else
      result = drop()
    end
    results[#results + 1] = result
  end
end

-- What was carried out before a failure must not be at odds with what is known of its topic.
local is_done, failure = pcall(carry_out)
for key, topic in pairs(topics) do
  if topic then settle(key, topic) end
end
if not is_done then
  return type(failure) == 'table' and failure or redis.error_reply('ERR ' .. tostring(failure))
end
redis.call('HSET', KEYS[2], 'seq', number, 'results', cmsgpack.pack(results))
redis.call('PEXPIRE', KEYS[2], 3600000)
return results
