#!lua
-- enter: a run takes its place among those of its thread, once and for all of its life. Whoever
-- entered before and is not known to be over is named, root runs alone, with its age: of two that
-- start at once, the later one hears of the earlier one. A run that was deleted stays so.
do
    local key, run, root, strategy, max = KEYS[1], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    local function parse(value)
        local letter, asked, number, at, of = string.match(value, '^(%l):(%l):(%d+):(%d+):(.*)$')
        return letter, asked, tonumber(number), tonumber(at), of
    end
    local stored = redis.call('HGET', key, run)
    local letter, asked, number, at = 'l', strategy, nil, now
    if stored and parse(stored) then
        local was
        was, asked, number, at = parse(stored)
        letter = was == 'd' and 'd' or 'l'
    else
        stored = nil
    end
    local fields, others, count = redis.call('HGETALL', key), {}, 0
    local ended, ended_number, eldest, eldest_number
    for i = 1, #fields, 2 do
        local name = fields[i]
        if name ~= '#' and name ~= run then
            local state, _, order, began, of = parse(fields[i + 1])
            if not state then
                state, order, began = 'e', 0, now
            end
            count = count + 1
            if state ~= 'e' and of == name and (not number or order < number) then
                others[#others + 1] = {name, order, math.max(now - began, 0)}
            end
            if state ~= 'l' and (not ended or order < ended_number) then
                ended, ended_number = name, order
            end
            if not eldest or order < eldest_number then
                eldest, eldest_number = name, order
            end
        end
    end
    table.sort(others, function(a, b) return a[2] < b[2] end)
    local named = {}
    for _, other in ipairs(others) do
        named[#named + 1], named[#named + 2] = other[1], other[3]
    end
    if strategy == 'r' and not stored and #others > 0 then
        return {'exists', 0, unpack(named)}
    end
    if not stored and count >= max then
        redis.call('HDEL', key, ended or eldest)
    end
    number = number or redis.call('HINCRBY', key, '#', 1)
    redis.call('HSET', key, run, string.format('%s:%s:%d:%.0f:%s', letter, asked, number, at, root))
    redis.call('PEXPIRE', key, ARGV[1])
    return {'ok', stored and 0 or 1, unpack(named)}
end
--@common
