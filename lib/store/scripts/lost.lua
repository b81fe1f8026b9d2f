#!lua flags=allow-oom
-- lost: compare-and-set, so that an adopted or returned run is never declared lost.
local run, epoch, incarnation, replica, record, only_suspect = A[3], A[4], A[5], A[6], A[7], A[8] == '1'

local r = read(run)
if not r or r[STATE] == '-' then
    return {'unknown'}
end
if not is_live(r) then
    return {'already', r[STATE]}
end
if r[EPOCH] ~= epoch or r[INCARNATION] ~= incarnation or r[OWNER] ~= replica then
    return {'fenced', tonumber(r[EPOCH])}
end
if only_suspect then
    if not has(r, SUSPECT) then
        r[FLAGS] = bor(r[FLAGS], SUSPECT)
        put(run, r)
        flush()
    end
    return {'suspect'}
end

r[STATE] = 'L'
r[FLAGS] = bor(band(r[FLAGS], bnot(SUSPECT)), FROZEN)
local told = false
if has(r, LOST_TAKEOVER) then
    if call('HEXISTS', key, 'x:' .. run) == 0 then
        b = b + 1
        write('b', b)
    end
    write('x:' .. run, r[EPOCH] .. ':' .. record)
    told = tonumber(r[CHILDREN]) > 0
elseif not has(r, LOST_CONTINUE) and not has(r, BANNED) then
    ban(run, r, record)
    told = true
end
n = n - 1
write('n', n)
put(run, r)
commit()
if told then
    publish(key, record)
end
tell_ended(run, r)
return {'lost'}
