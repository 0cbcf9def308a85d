-- Appends records to the log, in this order. KEYS: the stream. ARGV: how many records it keeps, then
-- kind, key and body of each record. Returns the id of the first; the others follow one by one.
local stream, keep = KEYS[1], ARGV[1]
local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
local life = last and string.match(last[1], '^%d+')
local first
for n = 2, #ARGV, 3 do
  local id = life and life .. '-*'
  if not life then
    -- The stream is empty: its life is named by the time. One that was emptied gave later ids.
    life = now
    if redis.call('EXISTS', stream) == 1 then
      local info = redis.call('XINFO', 'STREAM', stream)
      for i = 1, #info, 2 do
        local gave = info[i] == 'last-generated-id' and string.match(info[i + 1], '^%d+')
        if gave and tonumber(gave) >= tonumber(life) then
          life = string.format('%.0f', tonumber(gave) + 1)
        end
      end
    end
    id = life .. '-1'
  end
  id = redis.call('XADD', stream, 'MAXLEN', '~', keep, id,
    'kind', ARGV[n], 'key', ARGV[n + 1], 'at', now, 'body', ARGV[n + 2])
  first = first or id
end
return first
