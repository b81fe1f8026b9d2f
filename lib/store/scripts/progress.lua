#!lua flags=allow-oom
-- progress: how far an order is. One that was forgotten meanwhile does not come back by it.
do
    if redis.call('HEXISTS', KEYS[1], 'o:' .. ARGV[3]) == 0 then
        return {'not_found'}
    end
    redis.call('HSET', KEYS[1], 'p:' .. ARGV[3], ARGV[4])
    return {'ok'}
end
--@common
