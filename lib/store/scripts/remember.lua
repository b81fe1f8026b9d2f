#!lua flags=allow-oom
-- remember: find where an id lives, or note that it was cancelled before anybody had seen it.
do
    local root = redis.call('GET', KEYS[1])
    if root then
        return {'exists', root}
    end
    redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[1])
    return {'ok'}
end
--@common
