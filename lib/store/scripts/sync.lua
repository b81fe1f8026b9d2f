#!lua flags=allow-oom
-- sync: what is to outlive its server is written once more, as it is, so that a WAIT behind it on
-- the same connection covers it. Only where it still is: a failover may have lost it meanwhile.
do
    local key, run, epoch, write_id = KEYS[1], ARGV[3], tonumber(ARGV[4]), ARGV[5]
    local field = (epoch == 0 and 'c:' or 's:') .. run
    local value = redis.call('HGET', key, field)
    local stored = value and (epoch == 0 or tonumber(string.match(value, '^.:(%d+):')))
    if not stored or epoch > 0 and stored < epoch then
        return {'not_found'}
    end
    if write_id ~= '' and redis.call('HGET', key, 'w:' .. run) ~= write_id then
        return {'not_found'}
    end
    redis.call('HSET', key, field, value)
    return {'ok'}
end
--@common
