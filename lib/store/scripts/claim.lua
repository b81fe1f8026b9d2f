#!lua
-- claim: this id belongs to that root, unless another has it. Repeated, it renews; only the first
-- hears `ok`: what it claimed is its own to give back.
do
    local root = redis.call('GET', KEYS[1])
    if root and root ~= ARGV[3] then
        return {'exists', root}
    end
    redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[1])
    if root then
        return {'exists', root}
    end
    return {'ok'}
end
--@common
