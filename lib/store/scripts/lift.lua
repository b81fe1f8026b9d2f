#!lua flags=allow-oom
-- lift: a hold is over before its time. The order itself stays, and says so.
do
    local key, id = KEYS[1], ARGV[3]
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    local hold = redis.call('HGET', key, 'h:' .. id)
    if not hold then
        return {'not_found'}
    end
    if tonumber(hold) <= now then
        return {'already'}
    end
    local at = string.format('%.0f', now)
    redis.call('HSET', key, 'h:' .. id, at, 'l:' .. id, at)
    redis.pcall(ARGV[2], key, redis.call('HINCRBY', key, 'v', 1))
    return {'ok'}
end
--@common
