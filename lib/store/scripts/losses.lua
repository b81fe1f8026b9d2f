#!lua flags=allow-oom
-- losses: note so many losses of a replica; how many there were in the last ten minutes.
do
    local key, replica, count = KEYS[1], ARGV[3], tonumber(ARGV[4])
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    if count > 0 then
        local at = string.format('%.0f', now)
        redis.call('ZADD', key, at, 'lost:' .. replica .. ':' .. at .. ':' .. ARGV[4])
    end
    local total, entries = 0, redis.call('ZRANGE', key, 0, -1)
    for _, entry in ipairs(entries) do
        local at, lost = string.match(entry, '^lost:.*:(%d+):(%d+)$')
        if at and tonumber(at) > now - 600000 then
            total = total + lost
        elseif at then
            redis.call('ZREM', key, entry)
        end
    end
    return {'ok', total}
end
--@common
