#!lua flags=allow-oom
-- unclaim: give an id back; another root's claim is left alone.
do
    if redis.call('GET', KEYS[1]) == ARGV[3] then
        redis.call('DEL', KEYS[1])
    end
    return {'ok'}
end
--@common
