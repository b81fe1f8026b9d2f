#!lua flags=allow-oom
-- generation: the one that is stored, else the one proposed from now on.
do
    local known = redis.call('GET', KEYS[1])
    if known then
        return {'ok', known}
    elseif ARGV[3] == '' then
        return {'not_found'}
    end
    redis.call('SET', KEYS[1], ARGV[3])
    return {'ok', ARGV[3]}
end
--@common
