#!lua flags=allow-oom
-- order: writes an order down, once; everybody who hears of a new version reads the holds again.
-- Orders that nobody can ask for any more make room first; where that is not enough, the one that
-- would be the next of those that are carried out and hold nothing: a brake is not refused for what
-- is over.
do
    local key, id, record, hold, max =
        KEYS[1], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    local stored = redis.call('HGET', key, 'o:' .. id)
    if stored then
        return {'already', stored}
    end
    local fields, by_name, kept, holds = redis.call('HGETALL', key), {}, {}, 0
    for i = 1, #fields, 2 do
        by_name[fields[i]] = fields[i + 1]
    end
    local function forget(other)
        redis.call('HDEL', key, 'o:' .. other, 'h:' .. other, 'e:' .. other, 'p:' .. other,
                   'l:' .. other)
    end
    local function until_when(other)
        return tonumber(by_name['e:' .. other])
    end
    local function is_over(other)
        local good, progress = pcall(cmsgpack.unpack, by_name['p:' .. other] or '')
        return tonumber(by_name['h:' .. other] or 0) <= now and good
            and type(progress) == 'table' and progress[2] == true
    end
    for name, value in pairs(by_name) do
        local other = string.match(name, '^e:(.*)$')
        if other and tonumber(value) < now then
            forget(other)
        elseif other then
            kept[#kept + 1] = other
            holds = holds + (tonumber(by_name['h:' .. other] or 0) > now and 1 or 0)
        end
    end
    if hold > 0 and holds >= tonumber(ARGV[7]) then
        return {'full', 'holds'}
    end
    local oldest = nil
    for _, other in ipairs(#kept >= max and kept or {}) do
        if is_over(other) and (not oldest or until_when(other) < until_when(oldest)) then
            oldest = other
        end
    end
    if #kept >= max and not oldest then
        return {'full', 'orders'}
    elseif oldest then
        forget(oldest)
    end
    redis.call('HSET', key, 'o:' .. id, record, 'h:' .. id, string.format('%.0f', now + hold),
               'e:' .. id, string.format('%.0f', now + hold + tonumber(ARGV[1])))
    if ARGV[8] ~= '' then
        redis.call('HSET', key, 'p:' .. id, ARGV[8])
    end
    local version = redis.call('HINCRBY', key, 'v', 1)
    redis.pcall(ARGV[2], key, version)
    return {'ok', version}
end
--@common
