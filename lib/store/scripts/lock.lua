#!lua flags=allow-oom
-- lock: taken or kept for a while, by one holder.
do
    local holder = redis.call('GET', KEYS[1])
    if holder and holder ~= ARGV[3] then
        return {'exists', holder}
    end
    redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
    return {'ok'}
end
--@common
