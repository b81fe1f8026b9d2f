#!lua flags=no-writes
-- thread: who is entered, all ('') or one, each as "<run> <letter>:<strategy>:<number>:<at>:<root>".
do
    local run, answer = ARGV[3], {'ok'}
    if run ~= '' then
        local entry = redis.call('HGET', KEYS[1], run)
        answer[2] = entry and run .. ' ' .. entry or nil
        return answer
    end
    local fields = redis.call('HGETALL', KEYS[1])
    for i = 1, #fields, 2 do
        if fields[i] ~= '#' then
            answer[#answer + 1] = fields[i] .. ' ' .. fields[i + 1]
        end
    end
    return answer
end
--@common
