#!lua flags=allow-oom
-- losses: note a loss of a replica; how many were lost in the last ten minutes and are listed no more.
do
    local key, replica, count = KEYS[1], ARGV[3], tonumber(ARGV[4])
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    if count > 0 then
        local at = string.format('%.0f', now)
        redis.call('ZADD', key, at, 'lost:' .. replica .. ':' .. at .. ':' .. ARGV[4])
    end
    local entries = redis.call('ZRANGE', key, 0, -1)
    local seen, total = {}, 0
    for _, entry in ipairs(entries) do
        if not string.match(entry, '^lost:.*:%d+:%d+$') then
            seen[entry] = true
        end
    end
    for _, entry in ipairs(entries) do
        local name, at = string.match(entry, '^lost:(.*):(%d+):%d+$')
        if at and tonumber(at) > now - 600000 then
            total = total + (seen[name] and 0 or 1)
            seen[name] = true
        elseif at then
            redis.call('ZREM', key, entry)
        end
    end
    return {'ok', total}
end
--@common
