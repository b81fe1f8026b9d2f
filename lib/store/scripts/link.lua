#!lua flags=allow-oom
-- link: a child outside this tree; written before that child starts.
local run, epoch, id, link, acknowledge = A[3], tonumber(A[4]), A[5], A[6], A[7] == '1'
local LINKS_MAX = 1000
local field = 'l:' .. run .. ':' .. id

local r = read(run)
if not r or r[STATE] == '-' then
    return {'unknown'}
end
if epoch < tonumber(r[EPOCH]) then
    return {'fenced', tonumber(r[EPOCH])}
end
local known = call('HEXISTS', key, field) == 1
if acknowledge then
    if known then
        call('HSET', key, field, link)
    end
    return {'linked'}
end
local nearest = bans_of(run)[1]
if nearest and not has(r, OBSERVE) then
    return with_ban({'refused'}, nearest)
end
if not is_live(r) then
    return over(run, r)
end
if known then
    return {'linked'}
end
local links = tonumber(call('HGET', key, 'k:' .. run) or 0)
if links >= LINKS_MAX then
    return {'full', 'links'}
end
call('HSET', key, field, link, 'k:' .. run, links + 1)
return {'linked'}
