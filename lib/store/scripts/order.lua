#!lua flags=allow-oom
-- order: writes an order down, once; everybody who hears of a new version reads the holds again.
-- Orders that nobody can ask for any more make room first.
do
    local key, id, record, hold, max =
        KEYS[1], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    local stored = redis.call('HGET', key, 'o:' .. id)
    if stored then
        return {'already', stored}
    end
    local count, holds, fields = 0, 0, redis.call('HGETALL', key)
    for i = 1, #fields, 2 do
        local other = string.match(fields[i], '^e:(.*)$')
        if other and tonumber(fields[i + 1]) < now then
            redis.call('HDEL', key, 'o:' .. other, 'h:' .. other, 'e:' .. other, 'p:' .. other,
                       'l:' .. other)
        elseif other then
            count = count + 1
        elseif string.match(fields[i], '^h:') and tonumber(fields[i + 1]) > now then
            holds = holds + 1
        end
    end
    if count >= max or (hold > 0 and holds >= tonumber(ARGV[7])) then
        return {'full', count >= max and 'orders' or 'holds'}
    end
    redis.call('HSET', key, 'o:' .. id, record, 'h:' .. id, string.format('%.0f', now + hold),
               'e:' .. id, string.format('%.0f', now + hold + tonumber(ARGV[1])))
    local version = redis.call('HINCRBY', key, 'v', 1)
    redis.pcall(ARGV[2], key, version)
    return {'ok', version}
end
--@common
