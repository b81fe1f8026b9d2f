#!lua flags=allow-oom
-- leave: a run of this thread is over (e), was deleted by whoever lists it (d), or never began ('').
do
    local key, run, root, letter = KEYS[1], ARGV[3], ARGV[4], ARGV[5]
    local stored = redis.call('HGET', key, run)
    if letter == '' then
        redis.call('HDEL', key, run)
    elseif stored and string.sub(stored, 1, 1) ~= 'd' then
        redis.call('HSET', key, run, letter .. string.sub(stored, 2))
    elseif not stored and letter == 'd' then
        local t = redis.call('TIME')
        local now = t[1] * 1000 + math.floor(t[2] / 1000)
        local number = redis.call('HINCRBY', key, '#', 1)
        redis.call('HSET', key, run, string.format('d:e:%d:%.0f:%s', number, now, root))
        redis.call('PEXPIRE', key, ARGV[1])
    end
    return {'ok'}
end
--@common
