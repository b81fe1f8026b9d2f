#!lua flags=no-writes
-- orders: the version, and of one order, of all, or of those that hold now: id, record, what is
-- left of its hold in ms, when it was lifted, progress.
do
    local key, which = KEYS[1], ARGV[3]
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    local fields, by_name, ids = redis.call('HGETALL', key), {}, {}
    for i = 1, #fields, 2 do
        by_name[fields[i]] = fields[i + 1]
        ids[#ids + 1] = string.match(fields[i], '^o:(.*)$')
    end
    local answer = {'ok', tonumber(by_name['v'] or 0)}
    table.sort(ids)
    for _, id in ipairs(ids) do
        local left = tonumber(by_name['h:' .. id] or 0) - now
        if which == '' or which == id or (which == '*holds' and left > 0) then
            local at = #answer
            answer[at + 1], answer[at + 2], answer[at + 3] = id, by_name['o:' .. id],
                left > 0 and left or 0
            answer[at + 4], answer[at + 5] = by_name['l:' .. id] or '', by_name['p:' .. id] or ''
        end
    end
    return answer
end
--@common
