#!lua flags=allow-oom
-- lease: a script, because a plain SET is refused at maxmemory.
do
    redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
    return {'ok'}
end
--@common
