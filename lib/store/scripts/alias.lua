#!lua flags=allow-oom
-- alias: what another protocol calls a run names this one from now on. Whoever only renews it leaves
-- it to the run that has taken it over since.
do
    local owner = redis.call('GET', KEYS[1])
    if owner and owner ~= ARGV[3] and ARGV[4] ~= '1' then
        return {'exists', owner}
    end
    redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[1])
    return {'ok'}
end
--@common
